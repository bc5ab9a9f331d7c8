"""The rounding of sizes that keeps the number of compiled shapes small."""


def bucket(size: int) -> int:
    """The smallest integer >= size whose binary form has at most three significant bits.

    1, 2, ..., 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, ...: at most a fifth of a bucket is padding,
    and sizes up to 2^k meet about 4k buckets.

    Raises:
      ValueError: size is not positive.
    """
    if size <= 0:
        raise ValueError(f"bucket of {size}: a size must be positive")
    granule = 1 << max(0, size.bit_length() - 3)
    return -(-size // granule) * granule
