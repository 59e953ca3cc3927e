"""Uploaded pictures: what is taken, what is refused, who sees them."""

from __future__ import annotations

import base64
import io

import pytest
from PIL import Image

from core.contract.errors import InvalidImage, InvalidRequest, NotFound
from core.contract.images import InlineImage, Upload
from core.storage import images
from core.storage.blobs import Blobs
from core.storage.images import ImageStore


@pytest.fixture
def store(blobs: Blobs) -> ImageStore:
    return ImageStore(blobs)


def file_of(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


PICTURE = Image.new("RGB", (30, 20), (200, 10, 10))


@pytest.mark.parametrize(
    ("kind", "media_type"), [("PNG", "image/png"), ("JPEG", "image/jpeg"), ("WEBP", "image/webp")]
)
def test_a_picture_comes_back_with_what_it_is(
    store: ImageStore, kind: str, media_type: str
) -> None:
    data = file_of(PICTURE, kind)
    info = store.put("a", data)
    assert (info.width, info.height, info.media_type) == (30, 20, media_type)
    assert info.size_bytes == len(data)
    assert store.put("a", data).id == info.id
    assert store.open("a", info.id).size == (30, 20)
    assert store.info("a", info.id).sha256 == info.sha256


def test_an_owner_sees_only_its_own(store: ImageStore) -> None:
    info = store.put("a", file_of(PICTURE))
    with pytest.raises(NotFound):
        store.info("b", info.id)
    with pytest.raises(NotFound):
        store.delete("b", info.id)
    store.delete("a", info.id)
    with pytest.raises(NotFound):
        store.open("a", info.id)


def test_a_picture_is_upright_and_without_transparency(store: ImageStore) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    turned = store.put("a", file_of(PICTURE, "JPEG", exif=exif))
    assert (turned.width, turned.height) == (20, 30)
    assert store.open("a", turned.id).size == (20, 30)
    clear = store.put("a", file_of(Image.new("RGBA", (4, 4), (0, 0, 0, 0))))
    assert store.open("a", clear.id).getpixel((0, 0)) == (255, 255, 255)


def _truncated() -> bytes:
    return file_of(Image.effect_noise((64, 64), 50))[:-600]


def _animated() -> bytes:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    return file_of(frames[0], "WEBP", save_all=True, append_images=frames[1:])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no picture"),
        (file_of(PICTURE, "GIF"), "no picture"),
        (file_of(PICTURE, "BMP"), "no picture"),
        (_truncated(), "damaged"),
        (_animated(), "animated"),
    ],
    ids=["empty", "svg", "gif", "bmp", "truncated", "animated"],
)
def test_what_is_no_still_picture_is_refused(store: ImageStore, data: bytes, said: str) -> None:
    with pytest.raises(InvalidImage, match=said):
        store.put("a", data)


def test_too_many_pixels_are_refused_before_they_are_decoded(
    store: ImageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 500)
    monkeypatch.setattr(Image.Image, "load", lambda _: pytest.fail("it was decoded"))
    with pytest.raises(InvalidImage, match="more than 500 pixels"):
        store.put("a", file_of_header(30, 20))


def file_of_header(width: int, height: int) -> bytes:
    """A PNG that says its size and has no pixels."""
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\x00\x00\x00"
    import zlib

    chunk = b"IHDR" + header
    return (
        b"\x89PNG\r\n\x1a\n"
        + len(header).to_bytes(4, "big")
        + chunk
        + zlib.crc32(chunk).to_bytes(4, "big")
        + b"\x00\x00\x00\x00IDAT"
    )


def test_what_has_expired_is_gone_and_swept(
    store: ImageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = store.put("a", file_of(PICTURE))
    store.sweep()
    assert store.info("a", info.id) == info
    monkeypatch.setattr(images, "KEPT_SECONDS", -60)
    for look in (store.info, store.open, store.delete):
        with pytest.raises(NotFound, match="expired"):
            look("a", info.id)
    store.sweep()
    assert [*store.blobs.under()] == []


def test_a_picture_in_a_request_is_stored_and_named(store: ImageStore) -> None:
    data = base64.b64encode(file_of(PICTURE)).decode()
    seen = store.see("a", "/reference/image", InlineImage(data=f"data:image/png;base64,{data}"))
    assert store.see("a", "/reference/image", seen) == seen
    assert store.info("a", seen.upload).width == 30


@pytest.mark.parametrize(
    "image",
    [
        InlineImage(data="data:image/png;base64,!!"),
        InlineImage(data="data:image/png;base64,AAAA"),
        Upload(upload="img_" + 32 * "0"),
    ],
)
def test_a_picture_that_can_not_be_used_is_pointed_at(
    store: ImageStore, image: InlineImage | Upload
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        store.see("a", "/reference/image", image)
    assert refused.value.errors[0].pointer == "/reference/image"


@pytest.mark.parametrize("owner", ["..", "a/b", ""])
def test_paths_are_not_built_from_odd_owners(store: ImageStore, owner: str) -> None:
    with pytest.raises(NotFound):
        store.info(owner, "img_" + 32 * "0")
