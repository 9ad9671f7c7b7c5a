"""`quorate simulate`: whole clusters under seeds; what it prints depends on those."""

from collections import Counter

import click

from .settings import Failure


def _range(text: str) -> range:
    first, dots, last = text.partition("..")
    try:
        start, end = int(first), int(last if dots else first)
    except ValueError:
        raise click.BadParameter("give seeds as A..B or N") from None
    if not 0 <= start <= end:
        raise click.BadParameter("the first seed comes first")
    return range(start, end + 1)


@click.command("simulate")
@click.option("--seeds", default="1..20", help="Seeds A..B, both included.")
@click.option("--replay", type=int, help="Run one seed and print what happened.")
@click.option(
    "--mutants",
    is_flag=False,
    flag_value="all",
    help="Break rules by name (all of them by default); each must be noticed.",
)
@click.option("--quiet", is_flag=True, help="No line for each seed.")
def command(seeds: str, replay: int | None, mutants: str | None, quiet: bool) -> None:
    """Run simulated clusters with faults, and check their promises.

    Exit 1 when a checker objects. A failing seed names the command that shows it again.
    """
    if replay is not None:
        _replay(replay)
    elif mutants is not None:
        _mutants(mutants, _range(seeds))
    else:
        _run(_range(seeds), quiet)


def _run(seeds: range, quiet: bool) -> None:
    from ..chaos.simulator.run import OPERATIONS_MIN, run_seed
    from ..chaos.simulator.world import Violation

    fired: Counter[str] = Counter()
    failed: list[int] = []
    simulated_us = operations = snapshots = events = 0
    for seed in seeds:
        # Whatever ends a seed is said with its number, and the others still run.
        try:
            result = run_seed(seed)
        except (Violation, AssertionError) as error:
            kind = type(error).__name__
            failed.append(seed)
            click.echo(f"seed {seed}: {kind}: {error}")
            click.echo(f"  see it again: quorate simulate --replay {seed}")
            continue
        fired.update(result.fired)
        simulated_us += result.simulated_us
        operations += result.acknowledged
        snapshots += result.snapshots
        events += result.events
        if result.acknowledged < OPERATIONS_MIN:
            failed.append(seed)
            click.echo(f"seed {seed}: void: only {result.acknowledged} operations")
        if not quiet:
            click.echo(
                f"seed {seed}: {result.nodes} nodes, {result.acknowledged} operations,"
                f" {sum(result.fired.values())} faults,"
                f" {result.simulated_us / 1e6:.1f} s, log {result.agreed},"
                f" trace {result.trace}"
            )
    click.echo(
        f"{len(seeds)} seeds, {len(failed)} failed:"
        f" {simulated_us / 3.6e9:.2f} simulated hours, {operations} operations,"
        f" {sum(fired.values())} faults, {snapshots} snapshots, {events} events"
    )
    for kind, count in sorted(fired.items()):
        click.echo(f"  {kind:<16} {count}")
    if failed:
        raise Failure(f"seeds that failed: {', '.join(map(str, failed))}")


def _replay(seed: int) -> None:
    from ..chaos.simulator.run import Cluster
    from ..chaos.simulator.world import Violation

    cluster = Cluster(seed, keep_trace=True)
    problem: Exception | None = None
    try:
        cluster.run()
    except (Violation, AssertionError) as error:
        problem = error
    for line in cluster.world.lines or ():
        click.echo(line)
    click.echo(f"trace {cluster.world.digest.hexdigest()}")
    if problem is not None:
        raise Failure(f"seed {seed}: {type(problem).__name__}: {problem}")


def _mutants(names: str, seeds: range) -> None:
    from ..chaos.simulator.mutants import MUTANTS, hunt

    chosen = list(MUTANTS) if names == "all" else names.split(",")
    unknown = [name for name in chosen if name not in MUTANTS]
    if unknown:
        raise click.BadParameter(f"no such mutant: {', '.join(unknown)}")
    survivors: list[str] = []
    for name in chosen:
        catch = hunt(name, seeds)
        if catch is None:
            survivors.append(name)
            click.echo(f"{name:<28} NOT noticed by {len(seeds)} seeds")
        else:
            click.echo(
                f"{name:<28} seed {catch.seed}, the {catch.tried}. tried:"
                f" {catch.what[:90]}"
            )
    click.echo(f"{len(chosen) - len(survivors)} of {len(chosen)} mutants were noticed")
    if survivors:
        raise Failure(f"not noticed: {', '.join(survivors)}")
