"""Uploaded pictures, checked before anything decodes them."""

from __future__ import annotations

import hashlib
import io
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from PIL import Image, ImageOps, UnidentifiedImageError

from core.contract.errors import FieldError, InvalidImage, InvalidRequest, NotFound
from core.contract.images import IMAGE_ID, MEDIA_TYPES, ImageInfo, ImageInput, LinkedImage, Upload
from core.contract.keys import OWNER
from core.storage.blobs import Blob, Blobs

MAX_SIZE_BYTES = 20_000_000
MAX_PIXELS = 40_000_000
KEPT_SECONDS = 7 * 86_400


@dataclass(frozen=True)
class ImageStore:
    """Pictures at `<owner>/<id>`. An owner sees only its own. Everything raises OSError."""

    blobs: Blobs

    def put(self, owner: str, data: bytes) -> ImageInfo:
        """Keep a picture for a week from now. The same bytes of one owner give the same id.

        PNG, JPEG and WebP of one frame, by their header. Raises InvalidImage.
        """
        if len(data) > MAX_SIZE_BYTES:
            raise InvalidImage(f"The picture has more than {MAX_SIZE_BYTES} bytes.")
        with _checked(data) as image:
            image.load()  # a truncated file is refused here, not in the middle of a job
            media_type = MEDIA_TYPES[image.format or ""]
        image_id = f"img_{hashlib.sha256(data).hexdigest()[:32]}"
        self.blobs.put(_name(owner, image_id), data, media_type)
        return _described(image_id, data, self._look(owner, image_id))

    def see(self, owner: str, pointer: str, image: ImageInput) -> Upload:
        """Where a picture of a request is stored; one inside the request is stored now.

        Raises InvalidRequest, which points at it, also for one that would have to be fetched.
        """
        try:
            if isinstance(image, LinkedImage):
                raise InvalidImage("Pictures are not fetched by their URL here. Upload it instead.")
            if isinstance(image, Upload):
                self._look(owner, image.upload)
                return image
            return Upload(upload=self.put(owner, image.decoded()).id)
        except (InvalidImage, NotFound) as error:
            raise InvalidRequest.of([FieldError(pointer=pointer, detail=error.detail)]) from None
        except ValueError as error:
            detail = f"Expected a data URI of a picture: {error}."
            raise InvalidRequest.of([FieldError(pointer=pointer, detail=detail)]) from None

    def info(self, owner: str, image_id: str) -> ImageInfo:
        """What is stored under an id. Raises NotFound."""
        blob = self._look(owner, image_id)
        return _described(image_id, self._read(blob), blob)

    def open(self, owner: str, image_id: str) -> Image.Image:
        """The picture, upright, in RGB, with transparency on white. Raises NotFound."""
        with _checked(self._read(self._look(owner, image_id))) as image:
            upright = ImageOps.exif_transpose(image).convert("RGBA")
        white = Image.new("RGBA", upright.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, upright).convert("RGB")

    def delete(self, owner: str, image_id: str) -> None:
        """Remove a picture. Raises NotFound."""
        self.blobs.remove([self._look(owner, image_id).name])

    def sweep(self) -> None:
        """Remove what has expired."""
        self.blobs.remove(blob.name for blob in self.blobs.under() if _is_over(blob))

    def _look(self, owner: str, image_id: str) -> Blob:
        try:
            blob = self.blobs.look(_name(owner, image_id))
        except FileNotFoundError:
            raise _absent(image_id) from None
        if _is_over(blob):
            raise _absent(image_id)
        return blob

    def _read(self, blob: Blob) -> bytes:
        try:
            return self.blobs.read(blob.name)
        except FileNotFoundError:  # since it was looked at
            raise _absent(blob.name.rpartition("/")[2]) from None


def _name(owner: str, image_id: str) -> str:
    if not IMAGE_ID.fullmatch(image_id) or not OWNER.fullmatch(owner):
        raise NotFound("There is no such image.")
    return f"{owner}/{image_id}"


def _absent(image_id: str) -> NotFound:
    return NotFound(f"There is no image {image_id}, or it has expired.")


def _is_over(blob: Blob) -> bool:
    return blob.written_at + KEPT_SECONDS < time.time()


def _described(image_id: str, data: bytes, blob: Blob) -> ImageInfo:
    with _checked(data) as image:
        upright = ImageOps.exif_transpose(image)
        return ImageInfo(
            id=image_id,
            width=upright.width,
            height=upright.height,
            media_type=MEDIA_TYPES[image.format or ""],
            size_bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            expires_at=datetime.fromtimestamp(blob.written_at + KEPT_SECONDS, UTC),
        )


@contextmanager
def _checked(data: bytes) -> Iterator[Image.Image]:
    """The picture in `data`, its header read and within limits, its pixels not yet decoded."""
    accepted = "Send a PNG, JPEG or WebP of one frame."
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own limit warns; ours refuses below
            image = Image.open(io.BytesIO(data), formats=tuple(MEDIA_TYPES))
        with image:
            if getattr(image, "n_frames", 1) != 1:
                raise InvalidImage(f"The picture is animated. {accepted}")
            if image.width * image.height > MAX_PIXELS:
                raise InvalidImage(f"The picture has more than {MAX_PIXELS} pixels.")
            yield image
    except UnidentifiedImageError:
        raise InvalidImage(f"This is no picture we read. {accepted}") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise InvalidImage(f"The picture is damaged. {accepted}") from None
