"""Files of every instrument's layout, written by the tests themselves with values they know."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from groundswell.pipelines.das import formats
from groundswell.pipelines.das.record import Record

START = np.datetime64("2024-05-06T07:08:09.500", "ns")
START_S = 1714979289.5


def values(samples: int, channels: int, dtype: str = "float32", seed: int = 1) -> np.ndarray:
    """Random values (time, channel), none of them zero."""
    random = np.random.default_rng(seed)
    return (random.normal(size=(samples, channels)) * 1000 + 0.5).astype(dtype)


def only(path: Path) -> Record:
    (record,) = formats.find_records(path)
    return record


def whole(record: Record) -> np.ndarray:
    """All of a record as (time, channel), in its stored type."""
    out = np.empty((record.samples, record.channels), np.dtype(record.dtype).newbyteorder("="))
    reader = formats.open_reader(record)
    reader.read(0, record.samples, 0, record.channels, out)
    reader.close()
    return out


def plain(path: Path, data: np.ndarray, *, name: str = "data", order: str = "time,channel", rate_hz: float = 250.0,
          axes: bool = True, **storage: Any) -> np.ndarray:
    """The Bigorre layout: ``data`` (time, channel), stored in ``order``, with time (s) and distance (m) beside it."""
    with h5py.File(path, "w") as file:
        stored = data if order == "time,channel" else data.T
        dataset = file.create_dataset(name, data=stored, **storage)
        if axes:
            dataset.parent["time"] = np.arange(len(data)) / rate_hz
            dataset.parent["distance"] = np.arange(data.shape[1]) * 4.8
    return data


def febus(path: Path, signal: np.ndarray, *, keep: int, before: int, after: int, blocks: int, rate_hz: float = 200.0,
          version: bool = True, lost: tuple[int, ...] = (), overlap: float | None = None, trimmed: bool = False,
          **storage: Any) -> None:
    """Blocks of ``before + keep + after`` rows cut from ``signal`` (time, channel), every ``keep`` rows."""
    rows = before + keep + after
    kept = [block for block in range(blocks) if block not in lost]
    cube = np.stack([signal[block * keep:block * keep + rows] for block in kept])
    with h5py.File(path, "w") as file:
        source = file.create_group("fa1-test/Source1")
        zone = source.create_group("Zone1")
        for group in (source, zone):
            group.attrs.update({"AmpliPower": [27.0], "Hostname": b"fa1-test", "WholeExtent": np.zeros(6),
                                "SamplingRate": [rate_hz]})
        low = 7 if trimmed else 0
        zone.attrs.update({"Extent": np.array([0, signal.shape[1] - 1, low, low + rows - 1, 0, 0]),
                           "Spacing": np.array([2.4, 1000 / rate_hz, 1.0]), "GaugeLength": [10.0],
                           "Origin": np.array([0.0, -1000.0 * before / rate_hz, 0.0])})
        if version:
            zone.attrs["Version"] = source.attrs["Version"] = b"2.3.21"
            zone.attrs["BlockRate"] = np.array([1000.0 * rate_hz / keep])
        if overlap is not None:
            zone.attrs["BlockOverlap"] = np.array([overlap])
        source["time"] = START_S + np.array(kept) * keep / rate_hz
        zone.create_dataset("StrainRate", data=cube, **storage)


def prodml(path: Path, data: np.ndarray, *, order: str = "time,channel", rate_hz: float = 500.0,
           dimensions: list[bytes] | None = None, stamps: np.ndarray | None = None, **storage: Any) -> None:
    names = {"time,channel": [b"time", b"locus"], "channel,time": [b"locus", b"time"]}
    microseconds = round(START_S * 1e6) + np.round(np.arange(len(data)) * 1e6 / rate_hz).astype(np.int64)
    with h5py.File(path, "w") as file:
        acquisition = file.create_group("Acquisition")
        acquisition.attrs.update({"NumberOfLoci": data.shape[1], "SpatialSamplingInterval": np.float32(1.02),
                                  "SpatialSamplingIntervalUnit": b"m", "GaugeLength": 8.0, "schemaVersion": b"2.0",
                                  "PulseRate": 1e4, "PulseWidth": 10.0, "uuid": b"0", "VendorCode": b"Maker",
                                  "StartLocusIndex": 0})
        raw = acquisition.create_group("Raw[0]")
        raw.attrs.update({"OutputDataRate": np.float32(rate_hz), "NumberOfLoci": data.shape[1], "RawDataUnit": b"rad"})
        stored = data if order == "time,channel" else data.T
        dataset = raw.create_dataset("RawData", data=stored, **storage)
        dataset.attrs.update({"Dimensions": names[order] if dimensions is None else dimensions,
                              "PartStartTime": b"2024-05-06T07:08:09.500000+00:00"})
        last = np.datetime_as_string(START + np.timedelta64(round((len(data) - 1) * 1e9 / rate_hz), "ns"))
        times = raw.create_dataset("RawDataTime", data=microseconds if stamps is None else stamps)
        times.attrs.update({"PartStartTime": b"2024-05-06T07:08:09.500000+00:00",
                            "PartEndTime": f"{last}+00:00".encode()})


def optodas(path: Path, data: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        file["data"] = data
        file["fileVersion"] = 8
        for name in ("acqSpec", "cableSpec", "header"):
            file.create_group(name)
        header = file["header"]
        header.update({"dimensionNames": np.array([b"time", b"distance"]), "dimensionUnits": np.array([b"s", b"m"]),
                       "dx": 1.25, "dt": 0.002, "time": START_S, "gaugeLength": 12.5, "unit": b"strain/s",
                       "dataScale": np.float32(1.0), "channels": np.arange(data.shape[1], dtype=np.int32) * 4,
                       "instrument": b"x", "experiment": b"y"})
        for axis, (size, scale) in enumerate(zip(data.shape, (0.002, 1.25), strict=True)):
            header.create_group(f"dimensionRanges/dimension{axis}").update(
                {"min": 0, "max": size - 1, "size": size, "unitScale": scale})


def gdr(path: Path, data: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        acquisition = file.create_group("DasMetadata/Interrogator/Acquisition")
        file["DasMetadata"].attrs.update({"MetadataStandard": "DAS-RCN v1.10", "RawDataStandard": "PRODML v2.2"})
        file["DasMetadata/Interrogator"].attrs["SerialNumber"] = "NaN"
        acquisition.attrs.update({"AcquisitionSampleRate": "1000", "GaugeLength": "10", "GaugeLengthUnit": "meters",
                                  "SpatialSamplingInterval": "1.021", "SpatialSamplingIntervalUnit": "meters",
                                  "UnitOfMeasure": "NaN", "AcquisitionStartTime": "2024-05-06T07:08:09.5Z"})
        dataset = file.create_dataset("DasRawData/RawData", data=data)
        dataset.attrs["DasDimensions"] = np.array(["time step", "locus"], dtype=h5py.string_dtype())
        file["DasRawData/DasTimeArray"] = (START.astype(np.int64) + np.arange(len(data)) * 10**6).astype(np.uint64)


def silixa(path: Path, data: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("Acoustic", data=data).attrs.update({
            "GaugeLength": 10.0, "SamplingFrequency[Hz]": 500.0, "Fibre Length Multiplier": 1.02,
            "SpatialResolution[m]": 0.5, "Start Distance (m)": 0.0, "Stop Distance (m)": 10.0,
            "Fibre Length per Metre": 1.0, "GPSTimeStamp": "06/05/2024 07:08:09.5 (UTC)",
            "CPUTimeStamp": "06/05/2024 07:08:10 (UTC)", "Tags": "", "PulseWidth[ns]": 10.0, "MeasureLength[m]": 10.0,
            "StartPosition[m]": 0.0, "SystemInfomation.Devices1.SerialNum": "1"})


def neubrex(path: Path, data: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("Acoustic", data=data).attrs.update({
            "NEUBRESCOPE.DAS.Model": "NBX", "NEUBRESCOPE.DAS.SerialNum": "1", "DataPhysicalUnit": "micro-strain/second",
            "GPSTimeStamp(UTC)": "2024-05-06 07:08:09.5", "CPUTimeStamp(UTC)": "2024-05-06 07:08:10.0",
            "TimeSamplingInterval(seconds)": np.float32(0.001), "SpatialSamplingInterval": np.float32(0.41),
            "StartPosition": np.float32(0), "StopPosition": np.float32(9), "StartStopPositionUnit": "m",
            "GaugeLength": np.float32(0.2), "TimeDecimationFilter": np.uint8(0),
            "DistanceDecimationFilter": np.uint8(0)})


def terra15(path: Path, data: np.ndarray, *, unfilled: int = 0) -> None:
    times = START_S + np.arange(len(data)) / 500.0
    if unfilled:
        times[-unfilled:] = 0
    with h5py.File(path, "w") as file:
        file.attrs.update({"acoustic_bandwidth_end": 1.0, "amplifier_incoming_current": 1.0,
                           "file_start_computer_time": START_S, "file_version": 6, "sensing_range_start": 0.0,
                           "dx": 0.8, "nx": data.shape[1], "gauge_length": 7.0, "data_product": "deformation",
                           "data_product_units": "m", "serial_number": "1", "pulse_rate": 1e4, "pulse_length": 1.0})
        group = file.create_group("data_product")
        group.update({"data": data, "gps_time": times, "posix_time": times})


def ap_sensing(path: Path, data: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        file.attrs.update({"AppVersion": "1", "FileVersion": "10", "OpticalChannelNumber": 1})
        file["DAS"] = data
        file.create_group("Interrogator")
        groups = {"DAQ": {"PositionStart": 0.0, "PositionEnd": 2.0 * data.shape[1], "SerialNumber": b"1"},
                  "Metadata": {"Timestamp": b"2024-05-06T07:08:09.5", "Timezone": b"UTC", "TraceCount": len(data)},
                  "ProcessingServer": {"DataRate": 400.0, "GaugeLength": 5.0, "SpatialSampling": 2.0,
                                       "RadiansToNanoStrain": 1.0}}
        for name, facts in groups.items():
            file.create_group(name).update({key: np.array([fact]) for key, fact in facts.items()})


def dasdae(path: Path, data: np.ndarray, *, order: str = "time,channel") -> None:
    with h5py.File(path, "w") as file:
        file.attrs["__format__"], file.attrs["__DASDAE_version__"] = b"DASDAE", b"1"
        patch = file.create_group("waveforms/DAS__x")
        patch.attrs.update({"_dims": b"time,distance" if order == "time,channel" else b"distance,time",
                            "_cdims_time": b"time", "_cdims_distance": b"distance", "_attrs_data_units": b"m / s",
                            "_attrs_gauge_length": np.float64(9.0)})
        patch["data"] = data if order == "time,channel" else data.T
        patch["_coord_time"] = START.astype(np.int64) + np.arange(len(data)) * 5_000_000
        patch["_coord_time"].attrs.update({"is_datetime64": np.uint8(1), "is_timedelta64": np.uint8(0)})
        patch["_coord_distance"] = np.arange(data.shape[1]) * 3.5


def tdms(path: Path, data: np.ndarray, *, interleaved: bool = True, order: str = "<", chunk: int | None = None,
         segments: int = 1, start: str = "text") -> None:
    """Silixa's TDMS; channel-by-channel chunks of ``chunk`` values, the last one shorter where that does not divide."""
    code = {"i2": 2, "f4": 9}[data.dtype.str[1:]]

    def text(words: str) -> bytes:
        return struct.pack(order + "I", len(words)) + words.encode()

    properties = [("SamplingFrequency[Hz]", 10, struct.pack(order + "d", 1000.0)),
                  ("SpatialResolution[m]", 10, struct.pack(order + "d", 1.0)),
                  ("Fibre Length Multiplier", 10, struct.pack(order + "d", 1.02)),
                  ("MeasureLength[m]", 10, struct.pack(order + "d", float(data.shape[1]))),
                  ("StartPosition[m]", 10, struct.pack(order + "d", 0.0)),
                  ("GaugeLength", 10, struct.pack(order + "d", 10.0)), ("Unused", 33, b"\x01"),
                  ("SystemInfomation.Devices0.SerialNum", 32, text("1"))]
    if start == "text":
        properties.append(("GPSTimeStamp", 32, text("2024-05-06T07:08:09.5")))
    else:
        since_1904, half = int(START_S) + 2082844800, 2**63  # half a second, in units of 2**-64 s
        properties.append(("GPSTimeStamp", 68, struct.pack("<Qq", half, since_1904) if order == "<"
                           else struct.pack(">qQ", since_1904, half)))
    with open(path, "wb") as file:
        for rows in np.array_split(data, segments):
            length = len(rows) if chunk is None else chunk
            metadata = struct.pack(order + "I", 2 + data.shape[1])
            metadata += text("/") + struct.pack(order + "II", 0xFFFFFFFF, len(properties))
            metadata += b"".join(text(name) + struct.pack(order + "I", kind) + raw for name, kind, raw in properties)
            metadata += text("/'Measurement'") + struct.pack(order + "II", 0xFFFFFFFF, 0)
            for channel in range(data.shape[1]):
                metadata += text(f"/'Measurement'/'{channel}'") + struct.pack(order + "IIIQI", 20, code, 1, length, 0)
            stored = rows.astype(rows.dtype.newbyteorder(order))
            if interleaved:
                raw = stored.tobytes()
            else:
                raw = b"".join(np.ascontiguousarray(stored[at:at + length].T).tobytes()
                               for at in range(0, len(rows), length))
            mask = 2 | 4 | 8 | (32 if interleaved else 0) | (64 if order == ">" else 0)
            file.write(b"TDSm" + struct.pack("<I", mask) + struct.pack(order + "IQQ", 4713, len(metadata) + len(raw),
                                                                       len(metadata)) + metadata + raw)


def to_ibm(numbers: np.ndarray) -> np.ndarray:
    """float64 as IBM hexadecimal floats: the smallest power of 16 above the magnitude, 24 bits of fraction."""
    fraction, exponent = np.frexp(np.abs(numbers))
    sixteens = -(-exponent // 4)
    bits = np.rint(fraction * 2.0 ** (exponent - 4 * sixteens) * 2**24).astype(np.uint64)
    words = ((sixteens + 64).astype(np.uint64) << np.uint64(24)) | bits | (np.signbit(numbers).astype(np.uint64) << 31)
    return np.where(numbers == 0, 0, words).astype(np.uint32)


def segy(path: Path, data: np.ndarray, *, code: int = 5, order: str = ">", text_headers: int = 0) -> None:
    """SEG-Y revision 1; ``data`` (time, channel) becomes one trace per channel."""
    types = {1: "u4", 2: "i4", 3: "i2", 5: "f4", 6: "f8"}
    binary = bytearray(400)
    struct.pack_into(f"{order}H", binary, 16, 2000)
    struct.pack_into(f"{order}H", binary, 20, len(data))
    struct.pack_into(f"{order}H", binary, 24, code)
    struct.pack_into(f"{order}HHh", binary, 300, 0x0100, 1, text_headers)
    header = bytearray(240)
    struct.pack_into(f"{order}HH", header, 114, len(data), 2000)
    struct.pack_into(f"{order}5H", header, 156, 2024, 127, 7, 8, 9)
    with open(path, "wb") as file:
        file.write(b" " * 3200 + bytes(binary) + b" " * 3200 * text_headers)
        for trace in data.T:
            stored = to_ibm(trace.astype(np.float64)) if code == 1 else trace
            file.write(bytes(header) + stored.astype(order + types[code]).tobytes())
