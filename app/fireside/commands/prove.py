"""`fireside prove`: when the small model is enough, on your prompts, with error bars; sets what `auto` may do."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from fireside import engine_process
from fireside.arguments import Parser, count, number, usage_error, whole
from fireside.client import EngineClient
from fireside.conversations.store import Store
from fireside.exit_codes import ExitCode
from fireside.models import ModelChoice
from fireside.proving import items, report_html, report_text, result
from fireside.proving.arms import MODES, TOLERANCE, Tier
from fireside.proving.idling import Idle
from fireside.proving.items import Item
from fireside.proving.kinds import KINDS
from fireside.proving.routing import Routing
from fireside.proving.runner import OutOfTime, Plan, Prover
from fireside.proving.sampling import place
from fireside.proving.saved import saved_items
from fireside.proving.shadowing import judge_shadows
from fireside.proving.store import Proofs, Run
from fireside.terminal import Narrator, Output, to_json_line
from fireside.wire import EngineFailure, JsonObject

_DESCRIPTION = """\
Answer prompts with the small and the large model, check and compare the answers, and choose how much of your traffic
`auto` may leave to the small one. Thresholds are chosen with one half of the prompts and looked at with the other.
Everything stays on this machine. It may be interrupted at any time: the same command goes on where it was."""
_EPILOG = """\
Without --saved or --file it takes the prompts that come with fireside: extraction, rewriting, classification, code
with tests, arithmetic, open questions. A line of FILE is {"prompt": "…"} or {"messages": […]}, and may have "kind",
"max_tokens", "schema" and "check": {"type": "exact", "values": […]}, regex, contains, words, number, json, schema,
python with "tests", command with "run": ["pytest", "{file}"], every with "checks"."""
FLOOR = 0.9


def _parser() -> Parser:
    parser = Parser("prove", _DESCRIPTION, _EPILOG)
    parser.add_argument("--tiers", nargs="+", metavar="MODEL", help="smallest first; else those of auto")
    parser.add_argument("--saved", action="store_true", help="take questions of your saved chats")
    parser.add_argument("--file", metavar="FILE", help="take prompts of a .jsonl file")
    parser.add_argument("--embedded", action="store_true", help="take the embedded prompts, too")
    parser.add_argument("--kinds", metavar="KIND,…", help=f"of embedded prompts these only: {', '.join(KINDS)}")
    parser.add_argument("--limit", type=count, metavar="N", help="at most so many prompts, of all kinds alike")
    parser.add_argument("--modes", metavar="MODE,…", default=",".join(MODES), help=f"({','.join(MODES)})")
    parser.add_argument("--floor", type=number, default=FLOOR, metavar="Q", help=f"quality to keep ({FLOOR})")
    parser.add_argument("--seed", type=whole, default=1, metavar="N", help="of the sample and its halves (1)")
    parser.add_argument("--idle", action="store_true", help="work only while the engine has nothing else to do")
    parser.add_argument("--minutes", type=number, metavar="N", help="stop after so many; the same command goes on")
    parser.add_argument("--fresh", action="store_true", help="begin anew instead of going on")
    parser.add_argument("--no-apply", dest="apply", action="store_false", help="do not tell the engine what was found")
    parser.add_argument("--report", metavar="FILE", help="write the report as one HTML file")
    parser.add_argument("--drift", action="store_true", help="judge shadowed turns: is traffic still what was proved?")
    parser.add_argument("--forget", action="store_true", help="remove all runs, and the proof that the engine has")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    return parser


def main(words: Sequence[str]) -> ExitCode:
    args = _parser().read(words)
    _check(args)
    narrator = Narrator()
    try:
        client = EngineClient(engine_process.connect(status=narrator.status, note=narrator.note))
        routing = Routing(client)
        if args.forget:
            return _forget(routing, narrator)
        if args.drift:
            return _drift(args, routing, narrator)
        return _prove(args, client, routing, narrator)
    finally:
        narrator.clear()


def _check(args: argparse.Namespace) -> None:
    if not 0 < args.floor <= 1:
        raise usage_error("--floor is above 0 and at most 1.", hint="0.9 keeps nine tenths of the quality.")
    for name, known in (("modes", MODES), ("kinds", KINDS)):
        for word in filter(None, (getattr(args, name) or "").split(",")):
            if word not in known:
                raise usage_error(f"--{name} does not know {word}.", hint=f"There are {', '.join(known)}.")
    if args.tiers and len(args.tiers) < 2:
        raise usage_error("--tiers takes two models or more, the smallest first.")


def _prove(args: argparse.Namespace, client: EngineClient, routing: Routing, narrator: Narrator) -> ExitCode:
    tiers, routed = _tiers(args.tiers, client, routing)
    about: JsonObject = {
        "tiers": [[tier.name, tier.identity] for tier in tiers],
        "routed": routed,
        "saved": args.saved,
        "file": str(Path(args.file).resolve()) if args.file else None,
        "embedded": args.embedded,
        "kinds": args.kinds,
        "limit": args.limit,
        "seed": args.seed,
    }
    run = _run(args, Proofs(), about, narrator)
    modes = tuple(mode for mode in MODES if mode in args.modes.split(",")) if routed else ()
    prover = Prover(
        client,
        run,
        Plan(tiers, modes, routed, args.floor, args.minutes),
        narrator,
        Idle(client, wanted=args.idle),
    )
    whole = True
    try:
        prover.work()
    except OutOfTime:
        whole = False
        narrator.note("The minutes are over; the same command goes on.")
    except KeyboardInterrupt:
        narrator.note("Stopped; nothing is lost, the same command goes on.")
        raise
    found = prover.result()
    made = time.strftime("%Y-%m-%d")
    proof = result.proof_of(found, made, TOLERANCE)
    if args.report:
        Path(args.report).write_text(report_html.render(found, made), encoding="utf-8")
    applied = whole and routed and args.apply and _apply(routing, proof, narrator)
    if args.json:
        Output().write(to_json_line({"complete": whole, "applied": applied, "proof": proof}) + "\n")
        return ExitCode.OK
    Output().write(report_text.render(found))
    if applied:
        Output().write("The engine has it: `auto` goes by this proof from now on.\n")
    return ExitCode.OK


def _tiers(names: Sequence[str] | None, client: EngineClient, routing: Routing) -> tuple[list[Tier], bool]:
    """The tiers, and whether the engine's `auto` is what they are of."""
    roster = routing.roster()
    if not names:
        if len(roster) < 2:
            hint = "Name them: fireside prove --tiers SMALL LARGE. `fireside models` lists the models."
            raise usage_error("There are no two tiers to compare.", hint=hint)
        return roster, True
    chosen = [ModelChoice(name).resolve(client) for name in names]
    of_auto = [tier for tier in roster if tier.name in chosen]
    if len(of_auto) == len(roster) == len(chosen):
        return roster, True
    return [Tier(name, name) for name in chosen], False


def _run(args: argparse.Namespace, proofs: Proofs, about: JsonObject, narrator: Narrator) -> Run:
    run = None if args.fresh else proofs.find(about)
    if run is not None:
        narrator.note(f"Going on with {len(run.answers):,} answers that are there.")
        return run
    prompts = _prompts(args)
    if not prompts:
        raise usage_error("There are no prompts to prove with.", hint="--embedded takes those of fireside.")
    return proofs.begin(about, place(prompts, args.limit, args.seed))


def _prompts(args: argparse.Namespace) -> list[Item]:
    found: list[Item] = []
    if args.saved:
        found += saved_items(Store())
    if args.file:
        found += items.from_file(Path(args.file))
    if args.embedded or not (args.saved or args.file):
        found += items.embedded(args.kinds.split(",") if args.kinds else KINDS)
    return found


def _apply(routing: Routing, proof: JsonObject, narrator: Narrator) -> bool:
    """Whether the engine took it."""
    try:
        routing.put_proof(proof)
    except EngineFailure as failure:
        narrator.note(f"The engine did not take the proof: {failure.message}")
        return False
    return True


def _drift(args: argparse.Namespace, routing: Routing, narrator: Narrator) -> ExitCode:
    found = judge_shadows(routing, Proofs(), narrator, idle=args.idle)
    if args.json:
        kinds = {kind: tally._asdict() for kind, tally in found.kinds.items()}
        body: JsonObject = {"n": found.total.n, "kinds": kinds, "change": list(found.change)}
        Output().write(to_json_line({**body, "drift": found.is_drift, "verdict": found.verdict}) + "\n")
    else:
        Output().write(report_text.render_drift(found))
    return ExitCode.OK


def _forget(routing: Routing, narrator: Narrator) -> ExitCode:
    n = Proofs().forget()
    routing.forget_proof()
    narrator.note(f"Removed {n} {'run' if n == 1 else 'runs'}; `auto` is cautious until there is another proof.")
    return ExitCode.OK
