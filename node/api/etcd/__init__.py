"""The etcd v3 API as JSON over HTTP, as etcd's own gateway speaks it.

Law: a spelling, as the rest of HTTP here: a handler turns a document into requests of
the native protocol and their replies into a document. What etcd's clients test for is
kept to the letter (names, numbers as text, what is left out, errors); where something
differs, docs/etcd-compatibility.md says what and why.

- gateway: which path is which handler
- bodies, documents: from JSON to values; replies: from values to JSON; errors
- ranges, writes, transactions (compiled by compiling), leases, cluster: the handlers
"""
