"""`quorate simulate`: whole clusters under seeds; what it prints depends on those.

Law: standard output is the same in every process and on every machine. What is not (how
long it took) goes to standard error.
"""

import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Final

import click

from .settings import Failure

if TYPE_CHECKING:
    from ..chaos.simulator.campaign import Coverage, Outcome
    from ..chaos.simulator.run import RunOptions

_VOID: Final = 3
_FRESH: Final = "1..100"
# Written down, so that --help need not load the simulator.
_WORLDS: Final = (
    *("one-good-copy", "no-good-copy"),
    *("changed-voters", "counted-before", "damaged-vote", "joint-voters"),
    *("left-voters", "late-answer", "undone-change"),
    *("dropped-tail", "late-acknowledgement", "late-round"),
    *("late-vote", "state-over-tail", "lost-voters"),
    *("no-disk-reads", "slow-and-damaged"),
    *("gossip-pauses", "gossip-deaths"),
    *("gossip-partitions", "gossip-moved", "gossip-lies"),
)


class Void(Failure):
    """Nothing was objected to, and too little was tried to say that all is well."""

    exit_code = _VOID


def _range(text: str) -> range:
    first, dots, last = text.partition("..")
    try:
        start, end = int(first), int(last if dots else first)
    except ValueError:
        raise click.BadParameter("give seeds as A..B or N") from None
    if not 0 <= start <= end:
        raise click.BadParameter("the first seed comes first")
    return range(start, end + 1)


def _numbers(text: str) -> frozenset[int]:
    try:
        return frozenset(int(number) for number in text.split(",") if number)
    except ValueError:
        raise click.BadParameter("give faults as 3,17,20, or none as ''") from None


@click.command("simulate")
@click.option(
    "--seeds", help="Seeds A..B, both included.  [default: 1..20, --fresh: 1..100]"
)
@click.option("--replay", type=int, help="Run one seed and print what happened.")
@click.option("--shrink", type=int, help="Find the few faults by which a seed fails.")
@click.option("--faults", metavar="N,N", help="With --replay: these faults alone.")
@click.option("--mutant", metavar="NAME", help="Break a safety rule by its name.")
@click.option(
    "--mutants",
    metavar="[NAME,NAME]",
    is_flag=False,
    flag_value="all",
    help="Break rules, all by default; the seed on record must notice each.",
)
@click.option("--fresh", is_flag=True, help="With --mutants: hunt them with --seeds.")
@click.option(
    "--exhaustive",
    type=click.Choice(["storage", "links"]),
    help="All crash states of short workloads; all link graphs of five nodes.",
)
@click.option(
    "--world",
    type=click.Choice(_WORLDS),
    help="With --seeds: a world with a name.",
)
@click.option(
    "--dense", is_flag=True, help="Five nodes, 50 operations a second, all faults."
)
@click.option("--members", is_flag=True, help="In every world members come and go.")
@click.option(
    "--jobs",
    type=click.IntRange(1, 256),
    default=1,
    help="Processes.",
    show_default=True,
)
@click.option("--quiet", is_flag=True, help="No line for each seed.")
def command(
    seeds: str | None,
    replay: int | None,
    shrink: int | None,
    faults: str | None,
    mutant: str | None,
    mutants: str | None,
    fresh: bool,
    exhaustive: str | None,
    world: str | None,
    dense: bool,
    members: bool,
    jobs: int,
    quiet: bool,
) -> None:
    """Run simulated clusters with faults, and check their promises.

    Exit code: 0 all is well; 1 a checker objects, or a mutant is not noticed; 3 void: a
    fault of the menu never struck an operation in flight. A failing seed names the
    command that shows it again.
    """
    from ..chaos.simulator.mutants import MUTANTS, planted
    from ..chaos.simulator.run import RunOptions

    if mutant is not None and mutant not in MUTANTS:
        raise click.BadParameter(f"no such mutant: {mutant} ({', '.join(MUTANTS)})")
    options = RunOptions(
        dense=dense, members=members or None, keep_trace=replay is not None
    )
    with nullcontext() if mutant is None else planted(mutant):
        if replay is not None:
            _replay(replay, options, None if faults is None else _numbers(faults))
        elif shrink is not None:
            _shrink(shrink, options, mutant)
        elif exhaustive is not None:
            _exhaust(exhaustive)
        elif world is not None:
            _world(world, _range(seeds or "1..20"))
        elif mutants is not None:
            _mutants(mutants, _range(seeds or _FRESH) if fresh else None)
        elif mutant is not None and jobs > 1:
            raise click.BadParameter("--mutant runs in this process: leave out --jobs")
        else:
            _run(_range(seeds or "1..20"), options, jobs, quiet)


# -- seeds ---------------------------------------------------------------------------


def _run(seeds: range, options: "RunOptions", jobs: int, quiet: bool) -> None:
    from ..chaos.simulator.campaign import Coverage, run_seeds

    coverage = Coverage()
    began_s = time.monotonic()
    for outcome in run_seeds(seeds, options, jobs):
        coverage.add(outcome)
        _show_outcome(outcome, options, quiet)
    _show_coverage(coverage)
    _show_speed(coverage.simulated_us / 1e6, time.monotonic() - began_s, jobs)
    if coverage.failed:
        raise Failure(f"seeds that failed: {', '.join(map(str, coverage.failed))}")
    missing = coverage.missing()
    if missing:
        raise Void(f"void: {'; '.join(missing)}")


def _show_outcome(outcome: "Outcome", options: "RunOptions", quiet: bool) -> None:
    seed, result = outcome.seed, outcome.result
    if result is None:
        click.echo(f"seed {seed}: {outcome.detail}")
        click.echo(f"  see it again: quorate simulate --replay {seed}{_flags(options)}")
        return
    if not result.enough:
        click.echo(f"seed {seed}: void: only {result.acknowledged} operations")
    if not quiet:
        broken = f", {result.broken} broken disks" if result.broken else ""
        click.echo(
            f"seed {seed}: {result.nodes} nodes, {result.acknowledged} operations,"
            f" {sum(result.fired.values())} faults{broken},"
            f" {result.simulated_us / 1e6:.1f} s, log {result.agreed},"
            f" trace {result.trace}"
        )


def _flags(options: "RunOptions") -> str:
    """What makes these worlds others than the seeds alone would."""
    return " --dense" * options.dense + " --members" * bool(options.members)


def _show_coverage(coverage: "Coverage") -> None:
    faults = sum(coverage.fired.values())
    click.echo(
        f"{coverage.seeds} seeds, {len(coverage.failed)} failed:"
        f" {coverage.simulated_us / 3.6e9:.2f} simulated hours,"
        f" {coverage.acknowledged} operations acknowledged of {coverage.operations},"
        f" {coverage.told} events told to those who watch,"
        f" {faults} faults, {sum(coverage.failpoints.values())} failpoints,"
        f" {coverage.flushes} flushes,"
        f" {coverage.compactions} compactions, {coverage.snapshots} snapshots,"
        f" {coverage.heals} healed states,"
        f" {coverage.broken} broken disks, {coverage.events} events"
    )
    if coverage.configurations:
        click.echo(
            f"  {coverage.changing} worlds with changes of members:"
            f" {coverage.configurations} configurations were applied"
        )
    if coverage.halted:
        click.echo(f"  {coverage.halted} halted: a doubt that a lost disk leaves open")
    if coverage.undecided:
        click.echo(f"  {coverage.undecided} keys' histories were too long to search")
    click.echo("  fault                 struck  at work")
    for kind, count in sorted(coverage.fired.items()):
        click.echo(f"  {kind:<20} {count:>7}  {coverage.overlapped[kind]:>7}")
    for answer, count in sorted(coverage.answers.items()):
        click.echo(f"  {answer:<34} {count:>9}")
    for name, count in sorted(coverage.failpoints.items()):
        click.echo(f"  died at {name:<26} {count:>7}")


def _show_speed(simulated_s: float, real_s: float, jobs: int) -> None:
    click.echo(
        f"{real_s:.1f} s for {simulated_s:.0f} simulated ones, with {jobs} process"
        f"{'es' * (jobs > 1)}: {simulated_s / real_s:.1f} times real time",
        err=True,
    )


def _replay(seed: int, options: "RunOptions", only: frozenset[int] | None) -> None:
    import msgspec

    from ..chaos.simulator.run import Cluster
    from ..chaos.simulator.world import Violation

    cluster = Cluster(seed, msgspec.structs.replace(options, only=only))
    problem: Exception | None = None
    try:
        cluster.run()
    except (Violation, AssertionError) as error:
        problem = error
    click.echo("     seconds  who       event         detail")
    for line in cluster.world.lines or ():
        click.echo(line)
    click.echo(f"trace {cluster.world.digest.hexdigest()}")
    if problem is not None:
        raise Failure(f"seed {seed}: {problem or type(problem).__name__}")


def _shrink(seed: int, options: "RunOptions", mutant: str | None) -> None:
    from ..chaos.simulator.shrink import shrink

    found = shrink(seed, options, click.echo)
    if found is None:
        raise Failure(f"seed {seed} does not fail")
    click.echo(
        f"{len(found.faults)} of {found.before} faults are enough, after {found.runs}"
        f" runs: {found.outcome.detail}"
    )
    planted = "" if mutant is None else f" --mutant {mutant}"
    numbers = ",".join(map(str, found.faults)) or "''"
    click.echo(
        f"see it again: quorate simulate --replay {seed} --faults {numbers}"
        f"{_flags(options)}{planted}"
    )


# -- mutants and small worlds --------------------------------------------------------


def _mutants(names: str, fresh: range | None) -> None:
    """Each rule broken in turn: by the seed on record, or by seeds not seen before."""
    from ..chaos.simulator.catches import CATCHES
    from ..chaos.simulator.mutants import MUTANTS, hunt

    chosen = list(MUTANTS) if names == "all" else names.split(",")
    unknown = [name for name in chosen if name not in MUTANTS]
    if unknown:
        raise click.BadParameter(f"no such mutant: {', '.join(unknown)}")
    survivors: list[str] = []
    costs: list[float] = []
    for name in chosen:
        began_s = time.process_time()
        seeds = fresh or range(CATCHES[name], CATCHES[name] + 1)
        catch = hunt(name, seeds)
        costs.append(time.process_time() - began_s)
        if catch is None:
            survivors.append(name)
            click.echo(f"{name:<28} NOT noticed by {len(seeds)} seeds")
        else:
            click.echo(
                f"{name:<28} seed {catch.seed}, the {catch.tried}. tried:"
                f" {catch.what[:90]}"
            )
    click.echo(f"{len(chosen) - len(survivors)} of {len(chosen)} mutants were noticed")
    median_s = sorted(costs)[len(costs) // 2]
    click.echo(
        f"{sum(costs):.0f} s of CPU time, median {median_s:.1f} s, longest"
        f" {max(costs):.0f} s",
        err=True,
    )
    if survivors:
        raise Failure(f"not noticed: {', '.join(survivors)}")


def _world(name: str, seeds: range) -> None:
    from ..chaos.simulator.world import Violation
    from ..chaos.simulator.worlds import WORLDS

    failed: list[int] = []
    for seed in seeds:
        try:
            click.echo(f"seed {seed}: {WORLDS[name](seed)}")
        except (Violation, AssertionError) as error:
            failed.append(seed)
            click.echo(f"seed {seed}: {error or type(error).__name__}")
    if failed:
        raise Failure(f"seeds that failed: {', '.join(map(str, failed))}")


def _exhaust(what: str) -> None:
    violations = _crash_states() if what == "storage" else _links()
    for violation in violations:
        click.echo(violation)
    if violations:
        raise Failure(f"{len(violations)} violations")


def _crash_states() -> list[str]:
    from ..chaos.simulator.exhaustive.crash_states import enumerate_crash_states

    return _timed(lambda: enumerate_crash_states(4, report=click.echo).violations)


def _links() -> list[str]:
    from ..chaos.simulator.exhaustive.links import enumerate_links

    return _timed(lambda: enumerate_links(click.echo).violations)


def _timed(work: Callable[[], list[str]]) -> list[str]:
    began_s = time.process_time()
    violations = work()
    click.echo(f"{time.process_time() - began_s:.0f} s of CPU time", err=True)
    return violations
