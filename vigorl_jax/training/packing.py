"""Which episodes share a row of a batch."""

from collections.abc import Sequence

Row = tuple[int, ...]


def padded_rows(count: int) -> list[Row]:
    """One episode a row: 3 gives (0,), (1,), (2,)."""
    return [(index,) for index in range(count)]


def packed_rows(lengths: Sequence[int], length: int) -> list[Row]:
    """Rows of at most `length` tokens by first fit, longest first (at most 11/9 of the fewest rows possible, plus 1).

    Lengths 3, 7, 5, 2 in rows of 10 give (1, 0) and (2, 3).

    Raises:
      ValueError: something is longer than a row.
    """
    rows: list[list[int]] = []
    free: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        size = lengths[index]
        if size > length:
            raise ValueError(
                f"episode {index} has {size} tokens and a row {length}; make rows longer or leave the episode out"
            )
        row = next((row for row, room in enumerate(free) if room >= size), len(rows))
        if row == len(rows):
            rows.append([])
            free.append(length)
        rows[row].append(index)
        free[row] -= size
    return [tuple(row) for row in rows]


def deal(rows: Sequence[Row], count: int, multiple: int = 1) -> list[list[Row]]:
    """Deals rows to `count` micro-batches of equal size, one after the other; empty rows fill them up.

    Args:
      rows: as `packed_rows` orders them, those to come are rather emptier, and each micro-batch gets its share.
      count: micro-batches.
      multiple: of which each has a multiple of rows: the number of devices that share them.

    Raises:
      ValueError: there are fewer rows than micro-batches.
    """
    if len(rows) < count:
        raise ValueError(f"{len(rows)} rows do not fill {count} micro-batches; ask for at most {len(rows)}")
    size = -(-len(rows) // (count * multiple)) * multiple
    return [[*rows[i::count], *[()] * (size - len(rows[i::count]))] for i in range(count)]
