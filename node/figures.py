"""A node's numbers, gathered for status and metrics from the rooms that count them."""

import time
from typing import TYPE_CHECKING

from .. import __version__
from .peer_hello import Stream
from .statistics import PeerStatistics, Statistics

if TYPE_CHECKING:
    from .node import Node


def gather(node: "Node") -> Statistics:
    """Everything as it is at this moment; built without a quorum."""
    replica, raft = node.replica, node.replica.raft
    database, journal = replica.database, node.stable.journal
    leader = raft.leader_id
    gossip = node.gossiping.gossip
    leader_url = node.roster.place_of(leader)[2] or None
    files = node.client_tls
    return Statistics(
        name=node.config.name,
        member_id=f"{node.member_id:016x}",
        cluster_id=f"{node.cluster_id:016x}",
        version=__version__,
        role=_role(node),
        leader=f"{leader:016x}" if leader else None,
        leader_url=leader_url,
        term=raft.term,
        commit_index=raft.log.commit_index,
        applied_index=raft.log.applied_index,
        last_index=raft.log.last_index,
        elections_started=replica.elections,
        leader_changes=replica.leader_changes,
        proposals=replica.writes.proposals,
        proposals_failed=replica.writes.failed,
        proposals_pending=replica.writes.count(),
        read_index_rounds=replica.reads.round_count,
        reads_pending=replica.reads.count(),
        journal_syncs=journal.syncs if journal else 0,
        journal_bytes=journal.bytes_written if journal else 0,
        journal_size_bytes=journal.size_bytes if journal else 0,
        journal_sync_seconds=node.loop.sync_seconds,
        journal_sync_seconds_max=node.loop.sync_seconds_max,
        checkpoints=replica.checkpoints,
        checkpoint_index=replica.checkpoint_index,
        snapshots_sent=node.snapshots.sent,
        snapshots_installed=replica.snapshots_installed,
        healed=replica.healing.healed,
        compared_index=replica.comparing.equal_index,
        scrub_passes=node.scrubber.passes,
        scrubbed_bytes=node.scrubber.read_bytes,
        cache_hits=database.store.cache.hits,
        cache_misses=database.store.cache.misses,
        disk_free_bytes=node.loop.free_bytes,
        revision=database.revision,
        compacted=database.compacted,
        keys=database.keys,
        state_hash=database.state_hash(),
        puts=database.puts,
        deletes=database.deletes,
        gets=replica.reads.gets,
        requests_failed=node.loop.requests_failed,
        connections=node.listener.connections,
        client_handshakes_failed=node.listener.handshakes_failed,
        client_tls_reloads=files.reloads if files else 0,
        client_tls_reloads_failed=files.failures if files else 0,
        client_tls_problem=files.problem if files else None,
        client_certificate_ends_seconds=files.current.ends_s if files else 0.0,
        refused_peers=node.refused_peers,
        gossip_probes=gossip.counts.probes,
        gossip_probes_failed=gossip.counts.probes_failed,
        gossip_suspicions=gossip.counts.suspicions,
        gossip_deaths=gossip.counts.deaths,
        gossip_refutations=gossip.counts.refutations,
        gossip_conflicts=gossip.counts.conflicts + gossip.counts.absurd,
        gossip_refused=node.gossiping.refused,
        gossip_strain=gossip.health.strain,
        certificate_seconds_left=node.credentials.seconds_left,
        authority_seconds_left=node.credentials.authority_seconds_left,
        certificate_renewals=node.credentials.renewals,
        certificate_waits_for=node.credentials.waits_for,
        loop_lag_seconds_max=node.loop.lag_seconds_max,
        uptime_seconds=time.monotonic() - node.started_s,
        peers=[_peer(node, member) for member in raft.configuration.members()],
    )


def _role(node: "Node") -> str:
    raft = node.replica.raft
    if raft.configuration.is_learner(node.member_id):
        return "learner"
    return "candidate" if raft.role.value == "pre_candidate" else raft.role.value


def _peer(node: "Node", member: int) -> PeerStatistics:
    progress = node.replica.raft.progress.get(member)
    link = node.transport.links.get((member, Stream.RAFT))
    own = member == node.member_id
    return PeerStatistics(
        member_id=f"{member:016x}",
        name=node.roster.place_of(member)[0],
        connected=own or node.transport.connected(member),
        match_index=progress.match_index if progress else 0,
        sent_bytes=link.total_sent_bytes if link else 0,
        received_bytes=node.transport.received_bytes(member),
        send_failures=link.failures if link else 0,
    )
