"""Records as flat tables: names, replacing values inside, and what is refused."""

import dataclasses
import enum
from typing import Literal

import pytest

from vigorl_jax.runs import fields
from vigorl_jax.runs.fields import check, number


class Colour(enum.StrEnum):
    """Two colours."""

    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass(frozen=True)
class Wheel:
    """A wheel.

    Attributes:
      size: In inches,
        rim included.
      kind: Of the tyre.
      worn: Worked out.
    """

    size: int = number(26, least=12, most=29)
    kind: Literal["slick", "rough"] = "slick"
    worn: float = 0.0

    def __post_init__(self):
        check(self)


@dataclasses.dataclass(frozen=True)
class Bicycle:
    """A bicycle.

    Attributes:
      colour: Of the frame.
      gears, bells: How many.
      owners: So far.
      price: If it is for sale.
      front: A wheel.
      back: A wheel.
    """

    colour: Colour
    gears: int = 3
    bells: int = 1
    owners: tuple[str, ...] = ()
    price: float | None = number(None, above=0)
    front: Wheel = dataclasses.field(default=Wheel(), metadata={"prefix": "front_", "derived": ("worn",)})
    back: Wheel = dataclasses.field(default=Wheel(), metadata={"names": {"size": "back_size"}})

    def __post_init__(self):
        check(self)
        if self.front.size > self.back.size:
            raise ValueError("front above back")


BICYCLE = Bicycle(Colour.RED)


def test_every_value_has_one_name_in_order_with_what_its_docstring_says():
    leaves = fields.leaves(Bicycle)
    names = [
        "colour",
        "gears",
        "bells",
        "owners",
        "price",
        "front_size",
        "front_kind",
        "back_size",
        "kind",
        "worn",
    ]
    assert list(leaves) == names
    assert leaves["gears"].doc == leaves["bells"].doc == "How many."
    assert leaves["front_size"].doc == "In inches, rim included."
    assert leaves["front_size"].path == ("front", "size")
    assert (leaves["price"].kind, leaves["price"].is_optional) == (float, True)


def test_values_go_out_and_come_back():
    changed = fields.replace(
        BICYCLE, {"back_size": 28, "front_size": 27, "owners": ("Ada",), "colour": "blue"}
    )
    assert changed == Bicycle(Colour.BLUE, owners=("Ada",), front=Wheel(27), back=Wheel(28))
    assert isinstance(changed.colour, Colour)
    assert fields.values(changed)["front_size"] == 27
    assert fields.build(Bicycle, fields.values(changed)) == changed


def test_values_are_replaced_together_so_that_order_does_not_matter():
    with pytest.raises(ValueError, match="front above back"):
        fields.replace(BICYCLE, {"front_size": 27})
    assert fields.replace(BICYCLE, {"front_size": 27, "back_size": 27}).front.size == 27


def test_unknown_and_missing_values_are_named():
    with pytest.raises(ValueError, match="Bicycle has no value named brakes, horn"):
        fields.replace(BICYCLE, {"horn": 1, "brakes": 2})
    with pytest.raises(ValueError, match="colour has no default; give it"):
        fields.build(Bicycle, {})


def test_two_values_of_one_name_are_refused():
    @dataclasses.dataclass(frozen=True)
    class Tandem:
        """Two."""

        front: Wheel = dataclasses.field(default=Wheel())
        back: Wheel = dataclasses.field(default=Wheel())

    with pytest.raises(
        ValueError, match=r"two values named size: front\.size and back\.size; give .* a prefix"
    ):
        fields.leaves(Tandem)


def test_a_field_without_a_word_in_the_docstring_is_refused():
    @dataclasses.dataclass(frozen=True)
    class Mute:
        """Attributes:"""

        size: int = 1

    with pytest.raises(ValueError, match="the docstring of Mute does not say what size is"):
        fields.leaves(Mute)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gears": 2.5}, "gears is 2.5; give a whole number$"),
        ({"gears": True}, "gears is True; give a whole number$"),
        ({"colour": None}, "colour is None; give one of red, blue"),
        ({"kind": "knobbly"}, "kind is 'knobbly'; give one of slick, rough"),
        ({"front_size": 30}, "size is 30; give a whole number, at least 12 and at most 29"),
        ({"price": 0.0}, "price is 0.0; give a number, above 0, or none"),
        ({"price": float("nan")}, "price is nan; give a number, above 0, or none"),
        ({"owners": ("Ada", 2)}, "owners is .*; give a tuple; of each: text"),
        ({"owners": "Ada"}, "owners is 'Ada'; give a tuple; of each: text"),
    ],
)
def test_values_of_the_wrong_kind_or_out_of_bounds_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        fields.replace(BICYCLE, changes)


def test_an_unknown_name_of_an_enum_is_refused():
    with pytest.raises(ValueError, match="'green' is not a valid Colour"):
        fields.replace(BICYCLE, {"colour": "green"})
