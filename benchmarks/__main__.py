"""Run benchmarks by name (all without names) and keep what they measured in ``benchmarks/results``."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from pathlib import Path

from benchmarks import (
    biodiversity_knndm,
    biodiversity_place,
    biodiversity_splits,
    biodiversity_store,
    das,
    geomag,
    geomag_engine,
    geomag_networks,
    marine_detect,
    marine_prepare,
    marine_pretraining,
    preprocessing,
    reading,
    reading_archive,
    symae,
    symae_rows,
)

KNOWN = {
    "leave_one_out": das.leave_one_out, "clock_confound": das.clock_confound, "transfer": das.transfer,
    "detect_hour": das.detect_hour, "detect_speed": das.detect_speed, "large_file": das.large_file,
    "real_noise": das.real_noise, "reading": reading.reading,
    "reading_cold": reading_archive.cold, "reading_spread": reading_archive.spread,
    "reading_memory": reading_archive.memory,
    "reading_preprocess": preprocessing.preprocessing,
    "geomag_mlp": geomag_networks.mlp, "geomag_bf16": geomag_networks.bf16,
    "geomag_leak": geomag.leak, "geomag_planted": geomag.planted, "geomag_null": geomag.null,
    "geomag_workers": geomag_engine.workers, "geomag_memory": geomag_engine.memory, "geomag_study": geomag_engine.study,
    "biodiversity_splits": biodiversity_splits.splits, "biodiversity_knndm": biodiversity_knndm.knndm,
    "biodiversity_store": biodiversity_store.store, "biodiversity_place": biodiversity_place.place,
    "marine_prepare": marine_prepare.prepare, "marine_pretraining": marine_pretraining.pretraining,
    "marine_learn_rtdetr": marine_detect.learn("rtdetr"), "marine_learn_yolo": marine_detect.learn("yolo"),
    "marine_clips_rtdetr": marine_detect.clips("rtdetr", epochs=8), "marine_clips_yolo": marine_detect.clips("yolo"),
    "marine_fusion": marine_detect.fusion, "marine_tracking": marine_detect.tracking,
    "symae_step": symae.step, "symae_rows": symae_rows.rows,
    "symae_reference": symae_rows.reference,
}
RESULTS = Path(__file__).parent / "results"


def main(names: list[str]) -> int:
    """Run and print; exit status 2 for an unknown name, 1 if a target was missed."""
    unknown = [name for name in names if name not in KNOWN]
    if unknown:
        print(f"unknown: {', '.join(unknown)}; known: {', '.join(KNOWN)}", file=sys.stderr)
        return 2
    missed = 0
    work = Path(os.environ.get("GROUNDSWELL_BENCH", "bench"))
    for name in names or KNOWN:
        print(f"== {name}: {(KNOWN[name].__doc__ or '').splitlines()[0]}", flush=True)
        started = time.perf_counter()
        rows = KNOWN[name](work)
        for row in rows:
            mark = "" if row.get("reached") is None else "reached" if row["reached"] else "MISSED"
            missed += row.get("reached") is False
            print(f"   {row['what']}: {row['value']}   {row.get('target', '')} {mark}".rstrip(), flush=True)
        RESULTS.mkdir(exist_ok=True)
        facts = {"seconds": round(time.perf_counter() - started, 1), "cores": os.cpu_count(),
                 "machine": platform.machine(), "rows": rows}
        (RESULTS / f"{name}.json").write_text(json.dumps(facts, indent=2, default=str) + "\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
