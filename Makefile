# Everything here is a shorthand; CMakePresets.json has the builds.

JOBS   ?= $(shell nproc 2>/dev/null || echo 1)
PREFIX ?= /usr/local

FORMAT   = clang-format-14
C_DIRS   = $(wildcard include src cli examples bench tests python)
C_FILES  = $(shell find $(C_DIRS) -name build -prune -o -name '*.[ch]' -print | sort)
HEADERS  = $(sort $(wildcard include/pgqrs/*.h))
WARNINGS = -pedantic -Wall -Wextra -Werror -fsyntax-only -Iinclude

# Runs that look for no fault of a disk, and share no commits, wait for none.
RAM  := $(shell test -d /dev/shm -a -w /dev/shm && echo TMPDIR=/dev/shm)
FAST  = env PGQRS_PG_FSYNC=off $(RAM)

# REPEAT="--repeat until-pass:2": a test that fails gets a second try, and both are shown.
CTEST = ctest $(REPEAT)

# The mutants show that the storm finds faults, at full speed; there is nothing to sanitize in them.
SOUND = -E '^process\.mutants'

.PHONY: demo bench bench-python soak-python instructions instructions-record test test-versions test-pooler \
	test-features test-package test-crash build turso install wheel test-wheel \
	requirements lint-requirements servers-requirements lint sanitize valgrind format clean

# DSN=postgresql://... shows it on PostgreSQL.
demo: build/release/build.ninja
	cmake --build --preset release -j$(JOBS) --target example_archive_files
	ARCHIVE_FILES=build/release/examples/archive_files tools/demo.sh '$(DSN)'

# On a private PostgreSQL server and a file. BENCH=--quick takes about a minute for each.
bench: build
	tools/with_postgres.sh tools/bench.sh build/release/bin/pgqrs $(BENCH)

# How many instructions of ours an operation takes, against tests/instructions/recorded.json. After a
# change that is meant to cost more, or that made it cheaper, record it.
instructions: build
	tools/with_postgres.sh $(CTEST) --preset release -L instructions --output-on-failure

instructions-record: build
	tools/with_postgres.sh tools/record_instructions.sh

test: build
	tools/with_postgres.sh $(CTEST) --preset release --output-on-failure -j$(JOBS)
	@tools/turso.sh tested

# The oldest PostgreSQL that is supported, what the system has, the newest there is.
VERSIONS ?= 12 installed 18
ON_POSTGRES = $(CTEST) --preset release -L postgres --output-on-failure -j$(JOBS)
# Numbers that were recorded on the system's own server.
COUNTED = instructions

test-versions: build servers-requirements
	tools/postgres_versions.sh -v '$(VERSIONS)' tools/with_postgres.sh $(ON_POSTGRES) -LE '$(COUNTED)'

# Behind PgBouncer in transaction mode: found out by the library, told to it, and hidden from it. The
# benchmark's bare loops need sessions of their own.
BEHIND_POOLER = $(ON_POSTGRES) -E '^cli\.bench'

test-pooler: build servers-requirements
	tools/with_postgres.sh tools/with_pgbouncer.sh $(BEHIND_POOLER) -LE '$(COUNTED)'
	PGQRS_POOLED=1 tools/with_postgres.sh tools/with_pgbouncer.sh $(BEHIND_POOLER) -LE '$(COUNTED)'
	tools/with_postgres.sh tools/with_pgbouncer.sh --drop-options $(BEHIND_POOLER) -LE '$(COUNTED)|process'

# Builds with one backend; the one with all is `make test`.
test-features: build/postgres-only/build.ninja build/sqlite-only/build.ninja build/turso-only/build.ninja
	cmake --build --preset postgres-only -j$(JOBS)
	$(FAST) tools/with_postgres.sh $(CTEST) --preset postgres-only -j$(JOBS) -L 'unit|suite'
	cmake --build --preset sqlite-only -j$(JOBS)
	$(CTEST) --preset sqlite-only -j$(JOBS) -L 'unit|suite'
	cmake --build --preset turso-only -j$(JOBS)
	$(CTEST) --preset turso-only -j$(JOBS) -L 'unit|suite|cli'
	@tools/turso.sh tested

# What `make install` leaves, built against by somebody else's program.
test-package: build
	tools/with_postgres.sh tools/test_package.sh build/release

# A process that is killed between any two statements, one after the other.
test-crash: build/failpoints/build.ninja
	cmake --build --preset failpoints -j$(JOBS)
	$(FAST) tools/with_postgres.sh $(CTEST) --preset failpoints -j$(JOBS) --verbose -L crash

# Turso's engine is built beside the library, when there is a Rust that can; TURSO=off leaves it out.
build: build/release/build.ninja
	@TURSO='$(TURSO)' tools/turso.sh try build/release & turso=$$!; \
	    cmake --build --preset release -j$(JOBS); status=$$?; wait $$turso; exit $$status

turso: build/release/build.ninja
	tools/turso.sh build build/release

install: build
	cmake --install build/release --prefix '$(PREFIX)'

# The Python package with what it needs inside, in dist/; and its tests in a fresh environment.
wheel: | requirements
	tools/wheel.sh build dist

test-wheel: wheel
	$(FAST) tools/with_postgres.sh tools/wheel.sh test dist

# The package beside the same work in C; a million messages through one process.
VENV = build/release/python-venv

$(VENV)/needs:
	tools/python_venv.sh $(VENV) build/release/python-build

bench-python: build $(VENV)/needs
	tools/with_postgres.sh bench/python/run.sh $(VENV)/bin/python

soak-python: build $(VENV)/needs
	PGQRS_PG_FSYNC=off tools/with_postgres.sh sh -c '$(VENV)/bin/python bench/python/soak.py "$$PGQRS_TEST_PG"'

requirements:
	@tools/requirements.sh

lint-requirements:
	@tools/requirements.sh lint

servers-requirements:
	@tools/requirements.sh servers

# A build directory is configured once; from then on it looks after itself.
build/%/build.ninja: CMakePresets.json | requirements
	cmake --preset $*
	@touch $@

$(foreach preset,clang asan tsan valgrind,build/$(preset)/build.ninja): | lint-requirements

lint: build build/clang/build.ninja
	$(FORMAT) --dry-run -Werror $(C_FILES)
	@! LC_ALL=C.UTF-8 grep -nE '^.{101,}' $(C_FILES) || { echo 'longer than 100 columns' >&2; false; }
	python3 tools/check_layers.py
	python3 tools/check_guarantees.py
	python3 tools/check_snippets.py
	python3 tools/check_docs.py
	python3 tools/check_python_docs.py
	python3 tools/check_symbols.py --include include/pgqrs --library build/release/libpgqrs.so
	for header in $(HEADERS); do \
	    cc -std=c99 $(WARNINGS) -x c $$header || exit 1; \
	    c++ -std=c++11 $(WARNINGS) -x c++ $$header || exit 1; \
	done
	cmake --build --preset clang -j$(JOBS)

sanitize: build/asan/build.ninja build/tsan/build.ninja
	cmake --build --preset asan -j$(JOBS)
	tools/with_postgres.sh $(CTEST) --preset asan -j$(JOBS) $(SOUND)
	cmake --build --preset tsan -j$(JOBS)
	tools/with_postgres.sh $(CTEST) --preset tsan -j$(JOBS) $(SOUND)

valgrind: build/valgrind/build.ninja
	cmake --build --preset valgrind -j$(JOBS)
	$(CTEST) --preset valgrind -j$(JOBS) -R '^unit\.|^suite\..*\.sqlite$$'

format:
	$(FORMAT) -i $(C_FILES)

clean:
	rm -rf build
