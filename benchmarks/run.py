"""Runs every benchmark: ``make bench``. Results go to ``benchmarks/results``; each is a ratio within one run."""

from benchmarks import llm_client, quality_checks, serving


def main() -> None:
    """One after the other, so that they do not share the machine."""
    for benchmark in (serving, llm_client, quality_checks):
        print(f"▸ {benchmark.__name__}", flush=True)
        benchmark.main()


if __name__ == "__main__":
    main()
