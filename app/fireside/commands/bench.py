"""`fireside bench --speculation`: what drafts are worth here, on these prompts, against plain decoding."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from fireside import engine_process, table, traffic
from fireside.arguments import Parser, count, number, usage_error
from fireside.client import EngineClient
from fireside.conversations.store import Store
from fireside.exit_codes import ExitCode
from fireside.models import ModelChoice
from fireside.sanitize import clean_line
from fireside.terminal import Narrator, Output, to_json_line
from fireside.traffic import HISTORY, Workload
from fireside.wire import JsonObject

_DESCRIPTION = """\
Answer prompts with drafts and without, in turn, and compare: tokens a second, what was drafted and accepted, from
where, and whether the texts are the same. Prints what batches cost on this machine and where drafts begin to pay."""

_HEAD = ("PROMPT", "PLAIN", "DRAFTS", "RATIO", "ACCEPTED", "FROM", "SAME TEXT")
MOST_HISTORY = 12


class Run(NamedTuple):
    text: str
    timings: JsonObject
    extension: JsonObject

    @property
    def rate(self) -> float:
        return float(self.timings.get("predicted_per_second") or 0.0)


def main(words: Sequence[str]) -> ExitCode:
    parser = Parser("bench", _DESCRIPTION)
    parser.add_argument("model", nargs="?", metavar="MODEL", help="a name or a path; else the default model")
    parser.add_argument("--speculation", action="store_true", help="compare drafts with plain decoding")
    parser.add_argument(
        "--traffic",
        metavar="FILE",
        help="prompts of yours: texts between lines of ---, or .jsonl; `history`: your conversations",
    )
    parser.add_argument("--only", metavar="NAME", action="append", help="of the prompts this one; again for each")
    parser.add_argument("--rounds", type=count, default=3, metavar="N", help="times that each is asked both ways (3)")
    parser.add_argument("-n", "--max-tokens", type=count, default=160, metavar="N", help="tokens of an answer (160)")
    parser.add_argument("-t", "--temperature", type=number, default=0.0, metavar="T", help="of all answers (0)")
    parser.add_argument("--seed", type=count, default=1, metavar="N", help="of all answers (1)")
    parser.add_argument("--deterministic", action="store_true", help="load the model as run --deterministic does")
    parser.add_argument("--draft", metavar="MODEL", help="the model that drafts; auto or off")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    args = parser.read(words)
    if not args.speculation:
        raise usage_error("There is nothing to measure.", hint="fireside bench --speculation")
    workloads = [w for w in _traffic(args.traffic) if not args.only or w.name in args.only]
    if not workloads:
        raise usage_error("There are no prompts to measure with.")
    narrator = Narrator()
    try:
        client = EngineClient(engine_process.connect(status=narrator.status, note=narrator.note))
        extension: JsonObject = {"save": False, "report": True, "deterministic": args.deterministic}
        if args.draft:
            extension["draft"] = args.draft
        common: JsonObject = {
            "model": ModelChoice(args.model).resolve(client),
            "max_tokens": args.max_tokens,
            "temperature": args.temperature,
            "seed": args.seed,
        }
        results = []
        for workload in workloads:
            narrator.status(f"{clean_line(workload.name)}: answering {2 * args.rounds} times")
            results.append(_measure(client, {**common, **workload.body}, extension, workload.name, args.rounds))
    finally:
        narrator.clear()
    report = results[-1].pop("report")
    for result in results:
        result.pop("report", None)
    done: JsonObject = {"model": results[-1].pop("model"), "prompts": results, "machine": report}
    Output().write(to_json_line(done) + "\n" if args.json else render(done))
    return ExitCode.OK


def _traffic(name: str | None) -> list[Workload]:
    if name is None:
        return traffic.built_in()
    if name != HISTORY:
        return traffic.from_file(Path(name))
    store = Store()
    try:
        return traffic.from_conversations([store.load(found.id) for found in store.summaries(MOST_HISTORY)])
    finally:
        store.close()


def _measure(client: EngineClient, body: JsonObject, extension: JsonObject, name: str, rounds: int) -> JsonObject:
    """Rounds with and without drafts in turn, so that neither gains from what else the machine does over time."""
    runs: dict[bool, list[Run]] = {True: [], False: []}
    for i in range(rounds):
        for speculate in (True, False) if i % 2 else (False, True):
            runs[speculate].append(_ask(client, {**body, "fireside": {**extension, "speculate": speculate}}))
    ratios = [a.rate / b.rate for a, b in zip(runs[True], runs[False], strict=True) if b.rate]
    last = runs[True][-1]
    return {
        "name": name,
        "model": str(last.extension.get("route") or body["model"]),
        "plain": median(run.rate for run in runs[False]),
        "drafts": median(run.rate for run in runs[True]),
        "ratio": median(ratios) if ratios else None,
        "ratios": [round(ratio, 3) for ratio in ratios],
        "tokens": last.timings.get("predicted_n"),
        "draft_n": sum(int(run.timings.get("draft_n") or 0) for run in runs[True]),
        "draft_n_accepted": sum(int(run.timings.get("draft_n_accepted") or 0) for run in runs[True]),
        "sources": last.timings.get("draft_sources") or {},
        "won_ms": sum(float(run.timings.get("draft_ms_won") or 0.0) for run in runs[True]),
        "same": sum(a.text == b.text for a, b in zip(runs[True], runs[False], strict=True)),
        "rounds": rounds,
        "speculation": last.extension.get("speculation"),
        "report": last.extension.get("speculation_report") or {},
    }


def _ask(client: EngineClient, body: JsonObject) -> Run:
    (answer,) = client.chat(body)
    message = answer["choices"][0]["message"]
    return Run(str(message.get("content") or ""), answer.get("timings") or {}, answer.get("fireside") or {})


def render(done: JsonObject) -> str:
    report = done["machine"]
    lines = [f"{clean_line(done['model'])}: {clean_line(str(done['prompts'][-1]['speculation'] or ''))}"]
    if costs := report.get("costs"):
        lines.append(f"a step takes {report['step_ms']:.1f} ms; batches, in steps (~ by the probe, not seen yet):")
        shown = [f"{c['rows']} rows {'' if c['measured'] else '~'}{c['steps']:.2f}" for c in costs[1:]]
        lines += [f"  {'   '.join(shown[i : i + 6])}" for i in range(0, len(shown), 6)]
        lines.append(f"drafts cannot make it faster than {report['ceiling']:.2f} times, if all were accepted")
        wide = [c for c in costs[1:] if c["steps"] < c["rows"]]
        if wide:
            pays = min(wide, key=lambda c: c["steps"] / c["rows"])
            lines.append(f"{pays['rows'] - 1} drafts pay from {max(0.0, pays['steps'] - 1):.1f} accepted ones on")
    if model := report.get("draft_model"):
        words = model["given_up"] or f"{model['acceptance']:.0%} accepted, pays from {model['break_even']:.0%}"
        lines.append(f"draft model: a token costs {model['token_cost']:.2f} steps, {clean_line(words)}")
    for source, seen in (report.get("acceptance") or {}).items():
        share = seen["accepted"] / seen["judged"]
        lines.append(f"{source}: {share:.0%} of {seen['judged']:,} judged tokens were right")
    rows = [
        [
            clean_line(result["name"]),
            f"{result['plain']:.1f}",
            f"{result['drafts']:.1f}",
            f"{result['ratio']:.2f}" if result["ratio"] else "-",
            f"{result['draft_n_accepted']:,} of {result['draft_n']:,}",
            ", ".join(result["sources"]) or "-",
            f"{result['same']} of {result['rounds']}",
        ]
        for result in done["prompts"]
    ]
    return "\n".join(lines) + "\n\n" + table.render(_HEAD, rows)
