"""URLs in requests, before anything follows them."""

from __future__ import annotations

import pytest

from core.contract.errors import InvalidRequest, NotFound
from core.contract.images import ImageInput, LinkedImage, Upload
from core.contract.settings import Settings
from core.contract.stored import KeptReference, Stored
from core.contract.style_aligned import StyleAlignedRequest
from core.outbound.links import MAX_LINKS, admitting_links, fetched

IMAGE = "img_" + 32 * "0"


def _kept_reference(reference_id: str) -> KeptReference:
    raise NotFound(reference_id)


def _image(pointer: str, image: ImageInput) -> ImageInput:
    return image


NOTHING = Stored(_image, _kept_reference)


def linking(*urls: str) -> StyleAlignedRequest:
    """A request with a picture behind each URL, the first of them twice."""
    images = [LinkedImage(url=url) for url in urls]
    return StyleAlignedRequest.model_validate(
        {
            "prompts": ["a cat"] * len(images),
            "references": [
                {"image": images[0], "prompt": "noise", "mask": images[0]},
                {"image": {"upload": IMAGE}, "prompt": "noise"},
            ],
            "control": {"type": "canny", "images": images},
        }
    )


def test_each_url_is_fetched_once_and_no_other_picture_is_touched() -> None:
    asked: list[str] = []

    def fetch(url: str) -> Upload:
        asked.append(url)
        return Upload(upload=f"img_{len(asked):032x}")

    found = fetched(linking("https://a.example/", "https://b.example/"), fetch)
    assert asked == ["https://a.example/", "https://b.example/"]
    assert "url" not in found.model_dump_json()
    assert found.model_dump_json().count(IMAGE) == 1
    assert fetched(found, fetch) == found
    assert len(asked) == 2


def test_a_request_names_only_so_many_pictures_by_their_url() -> None:
    urls = [f"https://pictures.example/{number}.png" for number in range(MAX_LINKS + 1)]
    linking(*urls[:-1]).with_stored(admitting_links(NOTHING, Settings()))
    with pytest.raises(InvalidRequest) as refused:
        linking(*urls).with_stored(admitting_links(NOTHING, Settings()))
    (error,) = refused.value.errors
    assert error.pointer == f"/control/images/{MAX_LINKS}/url"
