"""Memory in use, of the process on the host and of its devices."""

import resource
import sys

import jax


def usage() -> dict[str, int]:
    """Bytes: "memory/host_peak" of this process, and where the devices tell "memory/device" and "memory/device_peak".

    Device figures are those of the fullest device of this process; CPU devices do not tell.
    """
    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    found = {"memory/host_peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    for name, key in (("memory/device", "bytes_in_use"), ("memory/device_peak", "peak_bytes_in_use")):
        values = [stat[key] for stat in stats if key in stat]
        if values:
            found[name] = max(values)
    return found
