"""Sizes as people read them."""


def gigabytes(size_bytes: int) -> str:
    """4.9 GB, 380 MB."""
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.0f} MB"
