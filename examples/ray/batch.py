"""Answers a file of requests on all machines of a Ray cluster: `sm batch` inside Ray Data.

    python batch.py questions.jsonl answers.jsonl --actors 4 -- -m model.gguf --parallel 16

Each actor owns one `sm batch - -` and talks to it over pipes, so a model is loaded once per actor. Answers come in the order of the
requests. A row that is no valid request, or fails, gets an answer with `error`; the others go on. A run that was interrupted goes on
after the last whole answer in the output.
"""

import argparse
import json
import os
import subprocess
import sys
import threading

import ray
import ray.data


class SmBatch:
    """An actor with a running `sm batch`."""

    def __init__(self, options):
        self.command = [os.environ.get("SM", "sm"), "--quiet", "batch", *options, "-", "-"]
        self.process = None

    def __call__(self, block):
        lines = [str(line) for line in block["request"]]
        try:
            answers = self.answers(lines)
        except (OSError, EOFError):
            # The process is gone. A second one answers the block again: equal requests get equal answers.
            self.process = None
            answers = self.answers(lines)
        return {"row": block["row"], "answer": answers}

    def answers(self, lines):
        """One answer for each line, in order."""
        if self.process is None:
            self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        # Answers are read while requests are written: pipes hold little.
        writer = threading.Thread(target=self.write, args=(lines,))
        writer.start()
        answers = [self.process.stdout.readline() for _ in lines]
        writer.join()
        if not answers[-1].endswith("\n"):
            raise EOFError(f"sm batch has ended with {self.process.wait()}")
        return answers

    def write(self, lines):
        try:
            self.process.stdin.writelines(line + "\n" for line in lines)
            self.process.stdin.flush()
        except OSError:
            # The reader finds the end of the answers.
            pass


def requests(path, seed):
    """The lines of a file. What depends on the place of a line is written into it, because an actor sees others than its neighbours."""
    rows = []
    with open(path, encoding="utf-8") as file:
        for row, line in enumerate(line.strip() for line in file if line.strip()):
            try:
                request = json.loads(line)
            except json.JSONDecodeError:
                request = None
            if isinstance(request, dict) and "custom_id" not in request:
                request.setdefault("id", row + 1)
                if seed is not None:
                    request.setdefault("seed", seed + row)
                line = json.dumps(request)
            rows.append({"row": row, "request": line})
    return rows


def whole_answers(path):
    """The number of answers in the output, from which what was left half written is cut."""
    if not os.path.exists(path):
        return 0
    with open(path, "rb+") as file:
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)
        return content.count(b"\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source")
    parser.add_argument("output")
    parser.add_argument("--actors", type=int, default=2)
    parser.add_argument("--cpus", type=float, default=1, help="processors of an actor")
    parser.add_argument("--block", type=int, default=64, help="requests that an actor gets at a time")
    parser.add_argument("--seed", type=int, help="seed of the first request; the next one has the next seed")
    parser.epilog = "Options after -- are those of sm batch."
    end = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    own, options = sys.argv[1:end], sys.argv[end + 1 :]
    args = parser.parse_args(own)

    rows = requests(args.source, args.seed)[whole_answers(args.output):]
    if not rows:
        return
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    n_blocks = -(-len(rows) // args.block)
    answers = ray.data.from_items(rows, override_num_blocks=n_blocks).map_batches(
        SmBatch,
        fn_constructor_kwargs={"options": options},
        batch_size=args.block,
        num_cpus=args.cpus,
        compute=ray.data.ActorPoolStrategy(size=args.actors),
    )
    with open(args.output, "a", encoding="utf-8") as output:
        for answer in answers.iter_rows():
            output.write(answer["answer"])
            output.flush()


if __name__ == "__main__":
    main()
