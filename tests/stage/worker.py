"""`kck worker` before there is a command line: the same options, as a program."""

import argparse
import sys


def main() -> int:
    import django

    django.setup()
    from kck_flow.refresh.worker import Options, run_worker

    parser = argparse.ArgumentParser()
    parser.add_argument("--concurrency", type=int, default=1)
    parser.add_argument("--executor", default="process")
    parser.add_argument("--claim", type=int, default=10)
    parser.add_argument("--lease", type=float)
    parser.add_argument("--poll", type=float)
    parser.add_argument("--grace", type=float, default=25.0)
    parser.add_argument("--max-refreshes", type=int)
    parser.add_argument("--max-rss", type=int)
    parser.add_argument("--max-age", type=float)
    parser.add_argument("--alive-file")
    parser.add_argument("--lanes", type=lambda text: [int(one) for one in text.split(",")])
    parser.add_argument("--products", type=lambda text: text.split(","))
    parser.add_argument("--once", action="store_true")
    return run_worker(Options(**vars(parser.parse_args())))


if __name__ == "__main__":
    sys.exit(main())
