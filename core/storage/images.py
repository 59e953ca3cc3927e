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
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from core.contract.errors import FieldError, InvalidImage, InvalidRequest, NotFound
from core.contract.images import IMAGE_ID, MEDIA_TYPES, ImageInfo, ImageInput, LinkedImage, Upload
from core.contract.keys import OWNER
from core.storage.disk import write_whole

MAX_SIZE_BYTES = 20_000_000
MAX_PIXELS = 40_000_000
KEPT_SECONDS = 7 * 86_400


@dataclass(frozen=True)
class ImageStore:
    """Pictures at `root/<owner>/<id>`. An owner sees only its own."""

    root: Path

    def put(self, owner: str, data: bytes) -> ImageInfo:
        """Keep a picture for a week from now. The same bytes of one owner give the same id.

        PNG, JPEG and WebP of one frame, by their header. Raises InvalidImage.
        """
        if len(data) > MAX_SIZE_BYTES:
            raise InvalidImage(f"The picture has more than {MAX_SIZE_BYTES} bytes.")
        with _checked(data) as image:
            image.load()  # a truncated file is refused here, not in the middle of a job
        image_id = f"img_{hashlib.sha256(data).hexdigest()[:32]}"
        write_whole(self._path(owner, image_id), data)
        return self.info(owner, image_id)

    def see(self, owner: str, pointer: str, image: ImageInput) -> Upload:
        """Where a picture of a request is stored; one inside the request is stored now.

        Raises InvalidRequest, which points at it, also for one that would have to be fetched.
        """
        try:
            if isinstance(image, LinkedImage):
                raise InvalidImage("Pictures are not fetched by their URL here. Upload it instead.")
            if isinstance(image, Upload):
                self.info(owner, image.upload)
                return image
            return Upload(upload=self.put(owner, image.decoded()).id)
        except (InvalidImage, NotFound) as error:
            raise InvalidRequest.of([FieldError(pointer=pointer, detail=error.detail)]) from None
        except ValueError as error:
            detail = f"Expected a data URI of a picture: {error}."
            raise InvalidRequest.of([FieldError(pointer=pointer, detail=detail)]) from None

    def info(self, owner: str, image_id: str) -> ImageInfo:
        """What is stored under an id. Raises NotFound."""
        data = self._read(owner, image_id)
        with _checked(data) as image:
            upright = ImageOps.exif_transpose(image)
            return ImageInfo(
                id=image_id,
                width=upright.width,
                height=upright.height,
                media_type=MEDIA_TYPES[image.format or ""],
                size_bytes=len(data),
                sha256=hashlib.sha256(data).hexdigest(),
                expires_at=datetime.fromtimestamp(
                    self._path(owner, image_id).stat().st_mtime + KEPT_SECONDS, UTC
                ),
            )

    def open(self, owner: str, image_id: str) -> Image.Image:
        """The picture, upright, in RGB, with transparency on white. Raises NotFound."""
        with _checked(self._read(owner, image_id)) as image:
            upright = ImageOps.exif_transpose(image).convert("RGBA")
        white = Image.new("RGBA", upright.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, upright).convert("RGB")

    def delete(self, owner: str, image_id: str) -> None:
        """Remove a picture. Raises NotFound."""
        self._read(owner, image_id)
        self._path(owner, image_id).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what has expired. Raises OSError."""
        for path in self.root.glob("*/img_*"):
            if path.stat().st_mtime + KEPT_SECONDS < time.time():
                path.unlink(missing_ok=True)

    def _read(self, owner: str, image_id: str) -> bytes:
        path = self._path(owner, image_id)
        try:
            if path.stat().st_mtime + KEPT_SECONDS < time.time():
                raise FileNotFoundError
            return path.read_bytes()
        except FileNotFoundError:
            raise NotFound(f"There is no image {image_id}, or it has expired.") from None

    def _path(self, owner: str, image_id: str) -> Path:
        if not IMAGE_ID.fullmatch(image_id) or not OWNER.fullmatch(owner):
            raise NotFound("There is no such image.")
        return self.root / owner / image_id


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
