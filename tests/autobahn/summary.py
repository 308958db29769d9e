"""Judge one run of the Autobahn|Testsuite: summary.py REPORT_DIRECTORY NUMBER_OF_CASES

Stricter than the suite itself: NON-STRICT is a failure, and so is a case without a result. INFORMATIONAL is none, for it marks the
three cases (7.1.6, 7.13.1, 7.13.2) in which RFC 6455 leaves a server free. The last line is `N passed, M failed`.
"""

import json
import pathlib
import sys

PASSED = {"OK", "INFORMATIONAL"}


def read(report):
    """Each case's result, by its number."""
    try:
        agents = json.loads((report / "index.json").read_text())
    except (OSError, ValueError) as error:
        print(f"no report: {error}")
        return {}
    return {case: result for cases in agents.values() for case, result in cases.items()}


def explain(report, case, result):
    try:
        told = json.loads((report / result["reportfile"]).read_text())
    except (OSError, ValueError, KeyError):
        told = {}
    print(f"FAILED {case}: behavior {result['behavior']}, close {result['behaviorClose']}: {told.get('result')} {told.get('resultClose')}")


def main(report, expected):
    results = read(report)
    failed = [case for case, result in results.items() if not {result["behavior"], result["behaviorClose"]} <= PASSED]
    for case in sorted(failed, key=lambda case: [int(part) for part in case.split(".")]):
        explain(report, case, results[case])
    missing = expected - len(results)
    if missing:
        print(f"FAILED: {expected} cases were to run, {len(results)} have a result")
    passed = len(results) - len(failed)
    print(f"{passed} passed, {len(failed) + abs(missing)} failed")
    return 1 if failed or missing else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1]), int(sys.argv[2])))
