"""docs/service.md from docs/performance/service.json and benchmarks/service.md.in.

python benchmarks/service_page.py
"""

import json
from pathlib import Path

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"


def main() -> None:
    found = json.loads((DOCS / "performance" / "service.json").read_text(encoding="utf-8"))
    template = (HERE / "service.md.in").read_text(encoding="utf-8")
    page = DOCS / "service.md"
    page.write_text(template.format(**values(found)), encoding="utf-8")
    print(f"written: {page}")


def values(found: dict) -> dict:
    """What stands in the template's places."""
    seconds = found["asked"]["seconds"]
    core_seconds = found["machine"]["cores"] * seconds
    return {
        **found,
        **found["asked"],
        **found["machine"],
        "seconds": f"{seconds:g}",
        "pause": f"{found['asked']['pause']:g}",
        "page_p95": thousandths(found["page_seconds"]["p95"]),
        "list_p95": thousandths(found["list_seconds"]["p95"]),
        "upload_p50": thousandths(found["upload_seconds"]["p50"]),
        "upload_p95": thousandths(found["upload_seconds"]["p95"]),
        "share": f"{found['reading_share']:.0%}",
        "core_seconds": core_seconds,
        "remark": f"\n{found['remark']}\n" if found.get("remark") else "",
        "processor_shares": shares(found["processor_seconds"]),
    }


def thousandths(seconds: float) -> str:
    return f"{seconds * 1000:.0f}"


def shares(processor: dict[str, float]) -> str:
    names = {
        "worker": "the worker with its network",
        "decoders": "its decoding children",
        "server": "the server",
        "clients": "the clients",
    }
    return ", ".join(
        f"{name} {processor[key]:.0f}" for key, name in names.items() if processor[key] > 0
    )


if __name__ == "__main__":
    main()
