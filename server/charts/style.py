"""How pictures look: sizes in pixels, and colours that stay apart for the colour-blind and on any ground.

Invariant: nothing is told by colour alone; what differs in colour differs in form, place or words too.
"""

from dataclasses import dataclass

from server.charts.picture import Kind, Role

DPI = 100
POINT = DPI / 72  # pixels
WIDTH, HEIGHT = 1000, 680
# Of a picture: hosts cut answers at 150,000 characters, and base64 makes four of three bytes.
MOST_BYTES = 110_000

GROUND, INK, MUTED, FAINT, GRID = "#FFFFFF", "#14181D", "#56606B", "#A9B2BC", "#E8EBEE"
CANDLE, HATCH, HATCH_GROUND = "#4A545F", "#9AA3AC", "#F1F2F4"
# Okabe and Ito's, darkened where text has to be read in them.
BLUE, VERMILION, GREEN, AMBER, PURPLE = "#0072B2", "#C44E00", "#00795A", "#E69F00", "#9A4A86"
VALUE_FILL, VALUE_ROWS, OTHER_ROWS = "#E4F0F8", "#7FB2D6", "#C9D3DC"
VACUUM_FILL, TAIL_FILL, AMBER_TEXT = "#FBE3B0", "#FDF3DC", "#8A5A00"
BUY, SELL = BLUE, VERMILION


@dataclass(frozen=True, slots=True)
class Look:
    """How a mark is drawn: its line, what fills a range, the colour of its words, which is first in front."""

    colour: str
    line: str | tuple[int, tuple[int, ...]]
    width: float
    fill: str | None = None
    text: str = INK


LOOKS: dict[Role, Look] = {
    "poc": Look(VERMILION, "-", 1.8, text=VERMILION),
    "value": Look(BLUE, (0, (6, 3)), 1.3, text=BLUE),
    "vwap": Look(GREEN, (0, (7, 2, 1, 2)), 1.4, text=GREEN),
    "last": Look(INK, (0, (1, 2)), 1.2),
    "vacuum": Look(AMBER, "-", 0.8, fill=VACUUM_FILL, text=AMBER_TEXT),
    "tail": Look(AMBER, "-", 0.0, fill=TAIL_FILL, text=AMBER_TEXT),
    "hvn": Look(MUTED, "-", 0.0, text=MUTED),
    "lvn": Look(MUTED, "-", 0.0, text=MUTED),
    "level": Look(FAINT, "-", 1.0, text=INK),
    "stop": Look(PURPLE, (0, (3, 2)), 1.4, text=PURPLE),
}


@dataclass(frozen=True, slots=True)
class Box:
    """A part of the picture in pixels from its lower left corner."""

    left: int
    bottom: int
    width: int
    height: int

    @property
    def fractions(self) -> tuple[float, float, float, float]:
        return self.left / WIDTH, self.bottom / HEIGHT, self.width / WIDTH, self.height / HEIGHT


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the parts are: price, the rows beside it, labels on their right, and below the price its flow."""

    price: Box
    rows: Box
    labels: Box
    below: Box | None = None


LABELS_AND_ROWS: dict[Kind, tuple[int, int]] = {"levels": (238, 160), "vacuums": (218, 180)}
LEFT, TOP, BOTTOM, GAP = 80, HEIGHT - 66, 50, 8


def layout_of(kind: Kind) -> Layout:
    labels, rows = LABELS_AND_ROWS.get(kind, (188, 190))
    floor = BOTTOM + 178 if kind == "flow" else BOTTOM
    height, right = TOP - floor, WIDTH - labels - 4
    price = Box(LEFT, floor, right - rows - GAP - LEFT, height)
    below = Box(LEFT, BOTTOM, price.width, 150) if kind == "flow" else None
    return Layout(price, Box(right - rows, floor, rows, height), Box(right, floor, labels, height), below)
