"""Sizes as people read them."""


def gigabytes(size_bytes: int) -> str:
    """4.9 GB, 380 MB, 0.5 MB."""
    if size_bytes >= 1e9:
        return f"{size_bytes / 1e9:.1f} GB"
    return f"{size_bytes / 1e6:.0f} MB" if size_bytes >= 1e7 else f"{size_bytes / 1e6:.1f} MB"
