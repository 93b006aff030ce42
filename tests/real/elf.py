"""The little of the ELF format that tells which libraries a file asks for."""

import struct

PT_LOAD, PT_DYNAMIC = 1, 2
DT_NULL, DT_NEEDED, DT_STRTAB = 0, 1, 5


def is_elf(data):
    return data[:4] == b"\x7fELF"


def segments_of(data):
    """The program headers of a 64-bit little-endian file; of others, which our targets cannot load, none."""
    if data[4:6] != b"\x02\x01":
        return []
    offset, = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    return [struct.unpack_from("<IIQQQQQQ", data, offset + i * size) for i in range(count)]


def is_dynamic(data):
    """Whether the file is linked dynamically, so that an RPATH means something to it."""
    return any(segment[0] == PT_DYNAMIC for segment in segments_of(data))


def needed(data):
    """The DT_NEEDED names of an ELF file."""
    if not is_dynamic(data):
        return []
    segments = segments_of(data)
    dynamic = next(segment for segment in segments if segment[0] == PT_DYNAMIC)
    entries = []
    for position in range(dynamic[2], dynamic[2] + dynamic[5], 16):
        tag, value = struct.unpack_from("<qQ", data, position)
        if tag == DT_NULL:
            break
        entries.append((tag, value))
    address = next(value for tag, value in entries if tag == DT_STRTAB)
    # The dynamic section has addresses; the file has offsets.
    strings = next(address - load[3] + load[2] for load in segments
                   if load[0] == PT_LOAD and load[3] <= address < load[3] + load[5])
    names = []
    for tag, value in entries:
        if tag == DT_NEEDED:
            start = strings + value
            names.append(data[start:data.index(b"\0", start)].decode())
    return names
