# warren's build: plain GNU make (3.81 and newer), with nothing behind it. `make help` lists it all.
# CMakeLists.txt builds the same; neither keeps lists of files, so a new file needs no edit here.
VERSION := 0.1.0
# Whether TLS is built unless said otherwise. Stands here only: CMake reads this line, and the version.
TLS_DEFAULT := 1

# The lines that begin with `#:` are what `make help` prints.
#: warren: targets
#:   all        the static library BUILD/libwarren.a (the default)
#:   examples   BUILD/examples/*
#:   run        installs what is missing, starts the echo server on localhost:8080, until Ctrl-C
#:              TLS_DEMO=1: in TLS, on localhost:8443, with a certificate made on the spot
#:   test       installs what is missing, builds everything and runs the tests
#:   stress     runs tests/stress, in minutes: QUICK=1, or TESTS='idle churn', or SOAK=1800 seconds
#:   sim        BUILD/libwarren_sim.a, the library on a simulated kernel, and BUILD/sim/swarm
#:   bench      installs libuv, libevent and Asio, and measures warren beside them: QUICK=1, or minutes
#:   bench-check  the same of warren alone; fails if a floor of tests/bench is missed
#:   fuzz       fuzzes TARGET=<x of fuzz/x_fuzz.cc> (default: each in turn) for TIME=60 seconds
#:   fuzz-coverage  lines of each target's unit that fuzz/corpus runs; fails below the floors
#:   coverage   lines of src that the tests run, with clang; fails below 92 %; BUILD/coverage/report/missed
#:   install    library, headers, pkg-config and CMake package: PREFIX=/usr/local DESTDIR=
#:   check      clang-format (check only), floors, names in tests/README.md
#:   check-cross  builds and runs the tests for aarch64, armhf and s390x, under qemu-user; without TLS
#:   check-macos  compiles and links for macOS, without TLS, and runs a static echo; fetches Zig by npm
#:   tidy       clang-tidy and cppcheck on the library
#:   format     lets clang-format rewrite the sources
#:   clean      removes BUILD
#: variables (a change rebuilds what it touches)
#:   CXX CXXFLAGS CPPFLAGS LDFLAGS AR    as everywhere; default g++, -O2 -g -DNDEBUG
#:   BUILD=build                         where everything is built
#:   TLS=0|1  EXCEPTIONS=0|1  THREADS=0|1    parts that can be left out; default @TLS_DEFAULT@ 1 1
#:   SANITIZE=address,undefined|thread
#:   BORINGSSL=<dir>                     an installed or built BoringSSL, for TLS=1; default Debian's
#:   WERROR=0|1                          warnings are errors; default 0
#:   TESTS='[poller]'                    which tests to run: a filter of Catch2
#:   TEST_FILES='tests/os/sys_test.cc'   builds these only; default all
#:   CATCH2=<dir>                        where Catch2 is installed, if not in the system
#:   QUICK=1                             bench in three minutes, stress in one; less of check-cross and check-macos
#:   PRELUDE=all                         headers compiled ahead for the library too, not for the tests alone
#:   KQUEUE=1                            for tests only: the kqueue backend over an emulation
#:   V=1                                 shows whole commands

ifeq ($(origin CXX),default)
CXX := $(firstword $(shell for c in g++ clang++ c++; do command -v $$c && break; done) g++)
endif
CXXFLAGS ?= -O2 -g -DNDEBUG
BUILD ?= build
TLS ?= $(TLS_DEFAULT)
EXCEPTIONS ?= 1
THREADS ?= 1
SANITIZE ?=
BORINGSSL ?=
WERROR ?= 0
TESTS ?=
TEST_FILES ?=
CATCH2 ?=
KQUEUE ?= 0
QUICK ?= 0
V ?= 0
SOAK ?=
TARGET ?=
TIME ?= 60
TLS_DEMO ?= 0
FUZZ_CXX ?= clang++
CLANG_FORMAT ?= clang-format
CLANG_TIDY ?= clang-tidy
CPPCHECK ?= cppcheck
PRELUDE ?= tests
PREFIX ?= /usr/local
DESTDIR ?=
TEST_SECONDS ?= 300

$(foreach name,TLS EXCEPTIONS THREADS WERROR KQUEUE TLS_DEMO,\
  $(if $(filter 0 1,$($(name))),,$(error $(name) is 0 or 1, not "$($(name))")))

# --- sources -------------------------------------------------------------------------------------

# A part that is left out takes its tests and examples with it.
TLS_SOURCES := $(wildcard src/tls/*.cc tests/tls/*.cc tests/*/tls*.cc examples/tls*.cc fuzz/tls*.cc) \
  fuzz/pem_fuzz.cc fuzz/upgrade_fuzz.cc tests/support/certificates.cc
LEFT_OUT := $(if $(filter 0,$(TLS)),$(TLS_SOURCES)) $(if $(filter 0,$(KQUEUE)),tests/kqueue/%)
sources = $(filter-out $(LEFT_OUT),$(wildcard $(1)))

SOURCES := $(call sources,src/*/*.cc)
EXAMPLE_SOURCES := $(call sources,examples/*.cc)
SUPPORT_SOURCES := $(call sources,tests/support/*.cc)
# TEST_FILES picks among the x_test.cc; what the tests of a directory share is always built.
picked = $(filter-out %_test.cc,$(1)) $(filter $(or $(TEST_FILES),%_test.cc),$(1))
SIM_SOURCES := $(if $(filter tests/sim/%,$(or $(TEST_FILES),tests/sim/all)),$(call picked,$(call sources,tests/sim/*.cc)))
TEST_SOURCES := $(call picked,$(filter-out tests/support/% tests/sim/% tests/stress/% tests/bench/%,\
  $(call sources,tests/*/*.cc)))
# The simulated kernel, for libwarren_sim.a; the model checker on it; and what its tests take of both.
KERNEL_SOURCES := $(filter-out %_test.cc,$(wildcard tests/sim/*.cc))
SWARM_SOURCES := $(wildcard tests/sim/swarm/*.cc)
SIM_SOURCES += $(if $(SIM_SOURCES),$(filter-out %/main.cc,$(SWARM_SOURCES)))
STRESS_SOURCES := $(call sources,tests/stress/*.cc)
BENCH_SOURCES := $(call sources,tests/bench/*.cc)
FUZZ_SOURCES := $(call sources,fuzz/*_fuzz.cc)
# What every fuzz target is linked with, and what replays all of their corpora.
FUZZ_SHARED := $(filter-out %_fuzz.cc fuzz/engine.cc fuzz/replay.cc,$(call sources,fuzz/*.cc)) \
  $(filter-out %_test.cc,$(call sources,tests/sim/*.cc))
REPLAY_SOURCES := $(if $(filter fuzz/%,$(or $(TEST_FILES),fuzz/replay.cc)),\
  $(FUZZ_SOURCES) fuzz/replay.cc $(FUZZ_SHARED))

objects = $(patsubst %.cc,$(BUILD)/obj/%.o,$(1))
programs = $(patsubst $(1)/%.cc,$(BUILD)/$(2)/%,$(3))

LIBRARY := $(BUILD)/libwarren.a
SIM_LIBRARY := $(BUILD)/libwarren_sim.a
SWARM := $(BUILD)/sim/swarm
SUPPORT := $(BUILD)/tests/libsupport.a
EXAMPLES := $(call programs,examples,examples,$(EXAMPLE_SOURCES))
TEST_PROGRAMS := $(if $(filter %_test.cc,$(TEST_SOURCES)),$(BUILD)/tests/warren_tests) \
  $(if $(SIM_SOURCES),$(BUILD)/tests/sim_tests) \
  $(if $(REPLAY_SOURCES),$(BUILD)/tests/fuzz_tests)
STRESS := $(BUILD)/stress
BENCH_PROGRAMS := $(call programs,tests/bench,bench,$(BENCH_SOURCES))
FUZZ_NAMES := $(patsubst fuzz/%_fuzz.cc,%,$(FUZZ_SOURCES))

# --- flags ---------------------------------------------------------------------------------------

# What a user's compiler must be told too: layouts and declarations depend on it.
PUBLIC_FLAGS := -DWARREN_TLS=$(TLS) $(if $(filter 0,$(THREADS)),-DWARREN_THREADS=0)
# BoringSSL has locks, whatever warren has.
THREAD_FLAGS := $(if $(filter 1,$(THREADS) $(TLS)),-pthread)

WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wconversion $(if $(filter 1,$(WERROR)),-Werror)
SANITIZE_FLAGS := $(if $(SANITIZE),\
  -fsanitize=$(SANITIZE) -fno-sanitize-recover=all -fno-omit-frame-pointer)
EVERY_FLAGS := -std=c++20 $(WARNINGS) $(PUBLIC_FLAGS) $(THREAD_FLAGS) $(SANITIZE_FLAGS) -Iinclude
NO_EXCEPTIONS := $(if $(filter 0,$(EXCEPTIONS)),-fno-exceptions -fno-rtti)
# The emulation stands for a system header, so its warnings are nobody's (-isystem).
KQUEUE_FLAGS := $(if $(filter 1,$(KQUEUE)),-DWARREN_KQUEUE=1 -isystem tests/kqueue)

LIBRARY_FLAGS := -Isrc $(NO_EXCEPTIONS) $(KQUEUE_FLAGS)
# Users copy the examples, so these see the public headers only.
EXAMPLE_FLAGS := $(NO_EXCEPTIONS)
# Catch2 needs exceptions; the tests ask WARREN_LIBRARY_EXCEPTIONS whether the library has them.
TEST_FLAGS := -Isrc -Itests -Itests/sim/include $(KQUEUE_FLAGS) -DWARREN_LIBRARY_EXCEPTIONS=$(EXCEPTIONS) \
  $(if $(CATCH2),-isystem $(CATCH2)/include)
LINK_FLAGS := $(THREAD_FLAGS) $(SANITIZE_FLAGS)
LINK_LIBRARIES :=

# "yes", the API version, the include directory, what to link; or "no" and why. NEED_BORINGSSL says why,
# before anything is compiled; targets that compile nothing do not care.
BORINGSSL_API :=
ifeq ($(TLS),1)
BORINGSSL_ANSWER := $(shell CXX='$(CXX)' third_party/find_boringssl '$(BORINGSSL)')
ifeq ($(firstword $(BORINGSSL_ANSWER)),yes)
BORINGSSL_API := $(word 2,$(BORINGSSL_ANSWER))
LIBRARY_FLAGS += -isystem $(word 3,$(BORINGSSL_ANSWER))
TEST_FLAGS += -isystem $(word 3,$(BORINGSSL_ANSWER))
LINK_LIBRARIES += $(wordlist 4,9,$(BORINGSSL_ANSWER))
endif
endif
NEED_BORINGSSL = $(if $(filter 1,$(TLS)),$(if $(BORINGSSL_API),,$(error TLS=1: $(wordlist 2,99,$(BORINGSSL_ANSWER)))))

# Version 2 of Catch2 keeps its main in one archive, version 3 in two.
CATCH2_LIBRARIES = $(if $(CATCH2),-L$(CATCH2)/lib) $(if $(filter 3,$(shell \
  printf '\043if __has_include(<catch2/catch_test_macros.hpp>)\n3\n\043endif\n' | \
  $(CXX) $(CPPFLAGS) $(TEST_FLAGS) -E -P -x c++ - 2>/dev/null)),-lCatch2Main -lCatch2,-lCatch2WithMain)

# "14 4" for clang 14, "__clang_major__ 12" for g++ 12, nothing without a compiler.
COMPILER := $(shell echo '__clang_major__ __GNUC__ __VERSION__' | $(CXX) -E -P -x c++ - 2>/dev/null)
COMPILER_OLD := $(if $(COMPILER),$(shell set -- $(COMPILER); case $$1 in \
  (__clang_major__) [ $$2 -lt 12 ] ;; (*) [ $$1 -lt 14 ] ;; esac && echo old))
NEED_COMPILER = $(if $(COMPILER),,\
    $(error no C++ compiler: "$(CXX)" cannot be run; set CXX=, or run third_party/install build))$(if \
  $(COMPILER_OLD),\
    $(error $(CXX) is too old: warren needs g++ 12, clang++ 14 or newer; set CXX=))

QUIET := $(if $(filter 1,$(V)),,@)
JOBS := $(firstword $(shell nproc 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null) 2)
# A make started by a recipe uses all processors unless the user said how many. The `+` before it tells
# make what it is, since the name MAKE does not stand in the recipe.
SUBMAKE = $(MAKE) --no-print-directory $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,-j$(JOBS))

# --- library, examples, programs -----------------------------------------------------------------

.PHONY: all examples test-programs sim run test stress bench bench-check fuzz fuzz-coverage coverage install check check-cross check-macos tidy format clean help FORCE
.SECONDARY:
.DELETE_ON_ERROR:

# The empty recipes keep make from saying "nothing to be done".
all: $(LIBRARY)
	@:
examples: $(EXAMPLES)
	@:
test-programs: $(TEST_PROGRAMS)
	@:
sim: $(SIM_LIBRARY) $(SWARM) $(BUILD)/sim/example
	@:

# A stamp holds a text and is written only when the text changes; what depends on it is then rebuilt.
define stamp
	$(NEED_COMPILER)$(NEED_BORINGSSL)@mkdir -p $(@D)
	@printf '%s\n' '$(subst ','\'',$(1))' | cmp -s - $@ || printf '%s\n' '$(subst ','\'',$(1))' > $@
endef
$(BUILD)/flags.stamp: FORCE
	$(call stamp,$(COMPILER) $(CXX) $(CPPFLAGS) $(EVERY_FLAGS) $(LIBRARY_FLAGS) $(EXAMPLE_FLAGS) \
	  $(TEST_FLAGS) $(CXXFLAGS) $(LDFLAGS) $(LINK_LIBRARIES) $(BORINGSSL_API))
$(BUILD)/sources.stamp: FORCE
	$(call stamp,$(SOURCES) $(SUPPORT_SOURCES) $(SIM_SOURCES) $(TEST_SOURCES) $(REPLAY_SOURCES))
FORCE:

$(BUILD)/obj/src/%.o: FLOOR_FLAGS = $(LIBRARY_FLAGS)
$(BUILD)/obj/src/%.o: LAST_FLAGS = $(SOURCE_PRELUDE:%=-include %)
$(BUILD)/obj/examples/%.o: FLOOR_FLAGS = $(EXAMPLE_FLAGS)
# Optimising tests costs more time than it saves; sanitized ones would take a minute a file. UBSan looks at
# the library, not at what drives it.
$(BUILD)/obj/tests/%.o: FLOOR_FLAGS = $(TEST_FLAGS)
UNOPTIMISED := -O0 -g1 $(if $(findstring undefined,$(SANITIZE)),-fno-sanitize=undefined)
$(BUILD)/obj/tests/%.o: LAST_FLAGS = $(UNOPTIMISED) $(TEST_PRELUDE:%=-include %)
$(BUILD)/obj/fuzz/%.o: LAST_FLAGS = $(UNOPTIMISED)
$(BUILD)/obj/tests/bench/%.o: LAST_FLAGS =
$(BUILD)/obj/tests/stress/%.o: LAST_FLAGS = -O1 -g1
# Many seeds are worth it.
$(call objects,$(KERNEL_SOURCES) $(SWARM_SOURCES) tests/sim/example/main.cc): LAST_FLAGS = -O1 -g1
# As a user builds it.
$(call objects,tests/sim/example/main.cc): FLOOR_FLAGS = -Itests/sim/include
$(BUILD)/obj/fuzz/%.o: FLOOR_FLAGS = $(TEST_FLAGS)

ifeq ($(KQUEUE),1)  # a compiler does not list it, as a system's header
$(BUILD)/obj/src/os/poller_kqueue.o: tests/kqueue/sys/event.h
endif

$(BUILD)/obj/%.o: %.cc $(BUILD)/flags.stamp
	@mkdir -p $(@D)
	$(if $(QUIET),@echo '  CXX $<')
	$(QUIET)$(CXX) $(CPPFLAGS) $(EVERY_FLAGS) $(FLOOR_FLAGS) $(CXXFLAGS) $(LAST_FLAGS) -MD -MP -c -o $@ $<

# Reading Catch2 and the library's headers takes longer than most tests themselves; and reading the public
# headers longer than most sources, which pays where processors are few. CMake does without, and so finds
# out what a file forgets to include.
TEST_PRELUDE := $(if $(filter tests all,$(PRELUDE)),$(BUILD)/obj/prelude.h)
SOURCE_PRELUDE := $(if $(filter all,$(PRELUDE)),$(BUILD)/obj/source_prelude.h)
# Compiles the header beside the target, with these flags.
define precompile
	$(QUIET)$(CXX) $(CPPFLAGS) $(EVERY_FLAGS) $(1) -MMD -MP -MF $(@:.gch=.d) -MT $@ -x c++-header -o $@ $(@:.gch=)
endef
$(BUILD)/obj/prelude.h.gch: tests/support/prelude.h $(BUILD)/flags.stamp
	@mkdir -p $(@D) && cp $< $(@:.gch=)
	$(call precompile,$(TEST_FLAGS) $(CXXFLAGS) $(UNOPTIMISED))
$(BUILD)/obj/source_prelude.h.gch: $(BUILD)/flags.stamp
	@mkdir -p $(@D) && echo '#include "warren/warren.h"' > $(@:.gch=)
	$(call precompile,$(LIBRARY_FLAGS) $(CXXFLAGS))
$(call objects,$(SUPPORT_SOURCES) $(SIM_SOURCES) $(TEST_SOURCES) $(filter tests/%,$(FUZZ_SHARED))): $(TEST_PRELUDE:%=%.gch)
$(call objects,$(SOURCES)): $(SOURCE_PRELUDE:%=%.gch)

# Written anew, so that the object of a deleted source does not live on in it.
define archive
	@mkdir -p $(@D)
	$(if $(QUIET),@echo '  AR  $@')
	$(QUIET)rm -f $@ && $(AR) rcs $@ $(filter %.o,$^)
endef

$(LIBRARY): $(call objects,$(SOURCES)) $(BUILD)/sources.stamp
	$(archive)
$(SIM_LIBRARY): $(call objects,$(filter-out src/os/sys_posix.cc src/os/poller_%.cc src/base/memory.cc,$(SOURCES)) $(KERNEL_SOURCES)) \
  $(BUILD)/sources.stamp
	$(archive)
# An archive too: a test program takes from it only what it uses.
$(SUPPORT): $(call objects,$(SUPPORT_SOURCES)) $(BUILD)/sources.stamp
	$(archive)

# What else is linked; and, if given, what in the place of LINK_LIBRARIES.
define link
	@mkdir -p $(@D)
	$(if $(QUIET),@echo '  LD  $@')
	$(QUIET)$(CXX) $(CXXFLAGS) $(LINK_FLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(1) $(or $(2),$(LINK_LIBRARIES))
endef

$(BUILD)/examples/%: $(BUILD)/obj/examples/%.o $(LIBRARY)
	$(call link)
$(STRESS): $(call objects,$(STRESS_SOURCES)) $(SUPPORT) $(LIBRARY)
	$(call link)
# The peers that warren is measured against.
$(BUILD)/bench/server_uv: BENCH_LIBRARIES = -luv
# These two speak TLS by the system's OpenSSL, and so must not see BoringSSL.
$(BUILD)/bench/server_event: PEER_LIBRARIES = -levent_openssl -levent_core -lssl -lcrypto
$(BUILD)/bench/server_asio: PEER_LIBRARIES = -lssl -lcrypto -pthread
$(call objects,tests/bench/server_event.cc tests/bench/server_asio.cc): FLOOR_FLAGS = -Itests
$(BUILD)/bench/server_event $(BUILD)/bench/server_asio: $(BUILD)/bench/%: $(BUILD)/obj/tests/bench/%.o
	$(call link,,$(PEER_LIBRARIES))
$(BUILD)/bench/%: $(BUILD)/obj/tests/bench/%.o $(LIBRARY)
	$(call link,$(BENCH_LIBRARIES))
$(BUILD)/%_fuzz: $(BUILD)/obj/fuzz/%_fuzz.o $(call objects,fuzz/engine.cc $(FUZZ_SHARED)) $(SUPPORT) $(LIBRARY)
	$(call link,-fsanitize=fuzzer)

$(BUILD)/tests/warren_tests: $(call objects,$(TEST_SOURCES)) $(SUPPORT) $(LIBRARY) $(BUILD)/sources.stamp
	$(call link,$(CATCH2_LIBRARIES))
# tests/sim defines another kernel under the names of os/sys.h and os/poller.h. Its objects come before
# the archive, so the linker never asks the archive for the real one.
$(BUILD)/tests/sim_tests: $(call objects,$(SIM_SOURCES)) $(SUPPORT) $(LIBRARY) $(BUILD)/sources.stamp
	$(call link,$(CATCH2_LIBRARIES))
$(BUILD)/tests/fuzz_tests: $(call objects,$(REPLAY_SOURCES)) $(SUPPORT) $(LIBRARY) $(BUILD)/sources.stamp
	$(call link,$(CATCH2_LIBRARIES))

$(BUILD)/sim/example: $(call objects,tests/sim/example/main.cc) $(SIM_LIBRARY)
	$(call link)
$(SWARM): $(call objects,$(SWARM_SOURCES) $(call sources,tests/support/certificates.cc)) $(SIM_LIBRARY)
	$(call link)

ALL_SOURCES := $(SWARM_SOURCES) tests/sim/example/main.cc $(SOURCES) $(EXAMPLE_SOURCES) $(TEST_SOURCES) $(SUPPORT_SOURCES) $(SIM_SOURCES) \
  $(STRESS_SOURCES) $(BENCH_SOURCES) $(FUZZ_SOURCES) $(FUZZ_SHARED) fuzz/engine.cc fuzz/replay.cc
-include $(patsubst %.o,%.d,$(call objects,$(ALL_SOURCES))) $(BUILD)/obj/prelude.h.d $(BUILD)/obj/source_prelude.h.d

# --- running -------------------------------------------------------------------------------------

# What is missing for a task.
PREPARE = CXX='$(CXX)' TLS='$(TLS)' BORINGSSL='$(BORINGSSL)' TLS_DEMO='$(TLS_DEMO)' third_party/install

# In the foreground of a terminal the server gets a process group of its own (`set -m`): Ctrl-C then
# reaches it alone, and make lives to return its exit code. Elsewhere it takes the place of the shell.
ECHO := $(BUILD)/examples/echo --host localhost --port 8080
TALK := nc localhost 8080
ifeq ($(TLS_DEMO),1)
DEMO := $(BUILD)/demo
ECHO := $(BUILD)/examples/echo --host localhost --port 8443 --cert $(DEMO)/cert.pem --key $(DEMO)/key.pem
TALK := openssl s_client -connect localhost:8443 -CAfile $(DEMO)/ca.pem
endif
run:
	@$(PREPARE) build
	+@$(SUBMAKE) $(BUILD)/examples/echo
	$(if $(DEMO),@examples/certificate $(DEMO))
	@echo 'talk to it with: $(TALK)    stop it with: Ctrl-C'
	@state=$$(ps -o stat= -p $$$$ 2>/dev/null || awk '$$5 == $$8 { print "+" }' /proc/$$$$/stat); \
	case $$state in (*+*) set -m ;; (*) exec $(ECHO) ;; esac; $(ECHO)

test:
	@CATCH2='$(CATCH2)' $(PREPARE) test
	+@$(SUBMAKE) all $(if $(filter tests/examples/%,$(or $(TEST_FILES),tests/examples/all)),examples) test-programs
	@WARREN_EXAMPLES='$(abspath $(BUILD)/examples)' tests/run -t $(TEST_SECONDS) -f '$(subst ','\'',$(TESTS))' $(TEST_PROGRAMS)

stress:
	@$(PREPARE) build
	+@$(SUBMAKE) $(STRESS)
	@$(STRESS) $(TESTS) $(if $(filter 1,$(QUICK)),--scale 0.02 --soak 6) $(if $(SOAK),--soak $(SOAK))

# A report is in $(BUILD)/bench afterwards.
bench bench-check:
	@$(PREPARE) bench
	+@$(SUBMAKE) $(BENCH_PROGRAMS)
	@tests/bench/run --programs $(BUILD)/bench --out $(BUILD)/bench \
	  --tls $(TLS) $(if $(filter bench-check,$@),--check) $(if $(filter 1,$(QUICK)),--quick)

# The library is instrumented too, so it is built apart; `integer` is asked of the library alone, since
# what drives the targets may wrap. New inputs go below BUILD, not into fuzz/corpus.
fuzz:
	@[ -n '$(FUZZ_NAMES)' ] || { echo 'no fuzz targets in this tree yet' >&2; exit 1; }
	@for name in $(TARGET); do [ -f fuzz/$${name}_fuzz.cc ] || \
	  { echo "no fuzz/$${name}_fuzz.cc; there are: $(FUZZ_NAMES)" >&2; exit 1; }; done
	@$(PREPARE) fuzz
	+@$(SUBMAKE) CXX='$(FUZZ_CXX)' BUILD=$(BUILD)/fuzz CXXFLAGS='-O1 -g -fsanitize-ignorelist=fuzz/integer.ignore' \
	  SANITIZE=fuzzer-no-link,address,undefined,integer UNOPTIMISED=-fno-sanitize=integer PRELUDE= \
	  $(patsubst %,$(BUILD)/fuzz/%_fuzz,$(or $(TARGET),$(FUZZ_NAMES)))
	@for name in $(or $(TARGET),$(FUZZ_NAMES)); do \
	  mkdir -p $(BUILD)/fuzz/corpus/$$name; kept=fuzz/corpus/$$name; [ -d $$kept ] || kept=; \
	  words=; [ ! -f fuzz/$$name.dict ] || words=-dict=fuzz/$$name.dict; \
	  $(BUILD)/fuzz/$${name}_fuzz -max_total_time=$(TIME) -max_len=4096 -len_control=0 -timeout=10 -print_final_stats=1 $$words \
	    -artifact_prefix=$(BUILD)/fuzz/ $(BUILD)/fuzz/corpus/$$name $$kept || exit 1; \
	done

fuzz-coverage:
	@CATCH2='$(CATCH2)' $(PREPARE) test && $(PREPARE) fuzz
	+@$(SUBMAKE) CXX='$(FUZZ_CXX)' BUILD=$(BUILD)/fuzz-coverage TEST_FILES=fuzz/replay.cc \
	  CXXFLAGS='-O1 -g -fprofile-instr-generate -fcoverage-mapping' test-programs
	@TLS=$(TLS) fuzz/coverage '$(FUZZ_CXX)' $(BUILD)/fuzz-coverage/tests/fuzz_tests

coverage:
	@CATCH2='$(CATCH2)' $(PREPARE) test && $(PREPARE) fuzz
	+@$(SUBMAKE) CXX='$(FUZZ_CXX)' BUILD=$(BUILD)/coverage \
	  CXXFLAGS='-O1 -g -fprofile-instr-generate -fcoverage-mapping' all examples test-programs
	@WARREN_EXAMPLES='$(abspath $(BUILD)/coverage/examples)' tests/coverage '$(FUZZ_CXX)' \
	  $(BUILD)/coverage/report $(patsubst $(BUILD)/%,$(BUILD)/coverage/%,$(TEST_PROGRAMS))

# --- install -------------------------------------------------------------------------------------

TEMPLATES := third_party/cmake
ROOT := $(DESTDIR)$(PREFIX)
fill = sed -e 's|@VERSION@|$(VERSION)|' -e 's|@WARREN_THREADS@|$(THREADS)|' -e 's|@WARREN_TLS@|$(TLS)|' \
  -e 's|@BORINGSSL@|$(abspath $(BORINGSSL))|' -e 's|@BORINGSSL_API@|$(BORINGSSL_API)|' \
  -e 's|@PUBLIC_FLAGS@|$(strip $(PUBLIC_FLAGS))|' -e 's|@PUBLIC_DEFINITIONS@|$(patsubst -D%,%,$(strip $(PUBLIC_FLAGS)))|' \
  -e 's|@PRIVATE_LIBRARIES@|$(strip $(THREAD_FLAGS) $(LINK_LIBRARIES))|' -e 's|@PREFIX@|$${pcfiledir}/../..|' \
  -e 's|@LIBDIR@|lib|' -e 's|@INCLUDEDIR@|include|' \
  -e 's|@PACKAGE_INIT@|get_filename_component(PACKAGE_PREFIX_DIR "$${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)|' \
  -e 's|@PACKAGE_LIBDIR@|$${PACKAGE_PREFIX_DIR}/lib|' -e 's|@PACKAGE_INCLUDEDIR@|$${PACKAGE_PREFIX_DIR}/include|'

install: all
	install -d '$(ROOT)/include/warren' '$(ROOT)/lib/pkgconfig' '$(ROOT)/lib/cmake/warren'
	install -m 644 include/warren/*.h '$(ROOT)/include/warren'
	install -m 644 $(LIBRARY) '$(ROOT)/lib'
	$(QUIET)$(fill) $(TEMPLATES)/warren.pc.in > '$(ROOT)/lib/pkgconfig/warren.pc'
	$(if $(filter 1,$(TLS)),install -m 644 $(TEMPLATES)/FindBoringSSL.cmake '$(ROOT)/lib/cmake/warren')
	$(QUIET)for file in warrenConfig warrenConfigVersion; do \
	  $(fill) $(TEMPLATES)/$$file.cmake.in > '$(ROOT)/lib/cmake/warren/'$$file.cmake || exit 1; done

# --- upkeep --------------------------------------------------------------------------------------

FORMATTED = $(wildcard include/warren/*.h src/*/*.h src/*/*.cc tests/*/*.h tests/*/*.cc tests/kqueue/sys/*.h \
  tests/sim/*/*.h tests/sim/*/*.cc tests/sim/include/warren/*.h \
  examples/*.h examples/*.cc fuzz/*.h fuzz/*.cc)

check:
	@command -v $(CLANG_FORMAT) >/dev/null || { echo 'no $(CLANG_FORMAT); run third_party/install ci' >&2; exit 1; }
	@for file in $(FORMATTED); do $(CLANG_FORMAT) $$file | diff -u $$file - || bad=1; done; \
	[ -z "$$bad" ] || { echo 'not formatted; `make format` does it' >&2; exit 1; }
	tests/check_floors
	tests/check_floors_test
	tests/check_names

check-cross: CROSS_TARGETS = aarch64 armhf s390x
check-macos: CROSS_TARGETS = macos-arm64 macos-x86_64 musl
check-cross check-macos:
	@$(PREPARE) $(@:check-%=%)
	+@MAKE='$(MAKE)' tests/cross $(if $(filter 1,$(QUICK)),--quick) $(BUILD)/cross $(CROSS_TARGETS)

# clang-tidy counts on stderr what it does not show. cppcheck is better off without BoringSSL's headers; it
# takes what placement new makes for uninitialised, and gives up on options.cc. To clang-tidy a floor is one
# unit, since what all its files include takes longer than they do. The longest comes first.
TIDY_FLOORS := net $(if $(filter 1,$(TLS)),tls) os base api
tidy:
	@for tool in $(CLANG_TIDY) $(CPPCHECK); do \
	  command -v $$tool >/dev/null || { echo "no $$tool; run third_party/install ci" >&2; exit 1; }; done
	$(CPPCHECK) --quiet --error-exitcode=1 -j $(JOBS) --std=c++20 --enable=warning,performance,portability \
	  --suppress=legacyUninitvar --suppress=cppcheckError:src/net/options.cc \
	  -D__linux__ -DWARREN_TLS=$(TLS) -DOPENSSL_IS_BORINGSSL -DBORINGSSL_API_VERSION=17 -Iinclude -Isrc $(sort $(dir $(SOURCES)))
	$(NEED_BORINGSSL)@mkdir -p $(BUILD)/tidy && for floor in $(TIDY_FLOORS); do \
	  for source in $(SOURCES); do case $$source in (src/$$floor/*) \
	    echo "#line 1 \"$$source\""; cat $$source ;; esac; done > $(BUILD)/tidy/$$floor.cc; done
	@printf '%s\n' $(TIDY_FLOORS:%=$(BUILD)/tidy/%.cc) | xargs -P $(JOBS) -I {} sh -c \
	  '$(CLANG_TIDY) --quiet --config-file=.clang-tidy {} -- $(EVERY_FLAGS) $(LIBRARY_FLAGS) 2>/dev/null || \
	    { echo "clang-tidy: {}"; exit 1; }'

format:
	$(CLANG_FORMAT) -i $(FORMATTED)

clean:
	rm -rf $(BUILD)

help:
	@sed -n 's/@TLS_DEFAULT@/$(TLS_DEFAULT)/; s/^#: \{0,1\}//p' $(firstword $(MAKEFILE_LIST))
