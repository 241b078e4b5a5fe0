# Naru's one Makefile.
#
#   make                      build/naru                   make test      every test (see tests/README.md)
#   make BUILD=asan check     unit tests, ASan + UBSan     make tidy      limits of docs/style, layers
#   make BUILD=tsan check     unit tests, TSan             make bench     build/naru bench
#   make CROSS=aarch64-linux-gnu- checkkernel              the arm kernels under qemu-user
#   make fuzz TARGET=gguf SECONDS=60                       one libFuzzer target (clang)
#
# O=DIR puts everything elsewhere (default build/ for release, build/BUILD/ otherwise); CC=clang works.

BUILD   ?= release
CROSS   ?=
O       ?= build$(if $(filter-out release,$(BUILD)),/$(BUILD))$(if $(CROSS),/$(CROSS:-=))
ifeq ($(origin CC),default)
CC      := $(CROSS)gcc
endif
AR      := $(CROSS)ar
PKG     ?= pkg-config
V       ?= 0
Q       := $(if $(filter 0,$(V)),@)
ARCH    := $(shell $(CC) -dumpmachine | cut -d- -f1)

# --- layers, lowest first; empty ones have no archive ---------------------------------------------
LAYERS  := $(shell sed -e 's/^\#.*//' -e 's/ -[a-z]*//g' src/LAYERS)
SRC     := $(sort $(wildcard src/*/*.c) $(if $(filter x86_64,$(ARCH)),$(wildcard src/kernel/x86/*.c)) \
             $(if $(filter aarch64,$(ARCH)),$(wildcard src/kernel/arm/*.c)))
# A cross build has the kernels and what they stand on: Debian has no foreign json-c or xxhash without multiarch.
ifneq ($(CROSS),)
SRC     := $(filter-out src/base/json.c src/base/map.c src/os/volume%.c,$(filter src/base/% src/os/% src/kernel/%,$(SRC)))
endif
LIBSRC  := $(filter-out src/cmd/main.c,$(SRC))
layer_src = $(filter src/$(1)/%,$(LIBSRC))
FULL    := $(foreach l,$(LAYERS),$(if $(call layer_src,$(l)),$(l)))
lib      = $(O)/lib/lib$(1).a
# The archives of the layers up to and including $(1), highest first, as the linker wants them.
upto     = $(eval _u :=)$(eval _go := 1)$(foreach l,$(FULL),$(if $(_go),$(eval _u := $(call lib,$(l)) $(_u)))$(if $(filter $(l),$(1)),$(eval _go :=)))$(_u)

# --- flags -----------------------------------------------------------------------------------------
PKGS    := $(if $(CROSS),,json-c libmicrohttpd libutf8proc libpcre2-8 libedit libcrypto liburing libzstd sqlite3)
PKG_CFLAGS := $(if $(PKGS),$(shell $(PKG) --cflags $(PKGS) 2>/dev/null))
PKG_LIBS   := $(if $(PKGS),$(shell $(PKG) --libs $(PKGS) 2>/dev/null))
VERSION := $(shell cat VERSION)
COMMIT  := $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)

WARN    := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla \
           -Wpointer-arith -Wwrite-strings -Wundef
OPT      = -O2 -g
OPT_debug := -O0 -g3
OPT_asan  := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
OPT_tsan  := -O1 -g -fsanitize=thread -fno-omit-frame-pointer
OPT_fuzz  := -O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
OPTS    := $(if $(filter release,$(BUILD)),$(OPT),$(OPT_$(BUILD)))
# No contraction: a*b+c rounds the same in the C reference on every compiler; kernels fuse by intrinsics.
CFLAGS  ?=
ALL_CFLAGS = -std=c17 -D_GNU_SOURCE $(OPTS) $(WARN) -ffp-contract=off -fno-math-errno -fstack-protector-strong \
           -Isrc -Iinclude $(PKG_CFLAGS) $(CFLAGS)
LDFLAGS ?=
LIBS    := $(PKG_LIBS) -lm -lpthread
isa      = $(if $(filter %_avx2.c,$(1)),-mavx2 -mfma -mf16c -mbmi2)$(if $(filter %_avx512.c,$(1)),-mavx2 -mfma -mf16c -mbmi2 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mavx512bf16)$(if $(filter %_avx512f.c,$(1)),-mavx2 -mfma -mf16c -mbmi2 -mavx512f -mavx512bw -mavx512dq -mavx512vl)$(if $(filter %_dotprod.c,$(1)),-march=armv8.2-a+dotprod)$(if $(filter %_i8mm.c,$(1)),-march=armv8.2-a+dotprod+i8mm)
# Kernels are hot loops: -O3 there, also in debug-free builds with sanitizers off.
# Tiles are a few hundred unrolled functions: checked by the referee's unreadable pages and canaries, since
# sanitizers make them several times as large and take minutes to compile.
kernel_opt = $(if $(findstring src/kernel/,$(1)),$(if $(filter release,$(BUILD)),-O3,$(if $(findstring /matmul_block_,$(1)),-O1 -fno-sanitize=all)))

.PHONY: all lib screenshots deb deb-test check checkkernel test tidy bench clean fuzz fuzz-bins fuzz-replay install kill-loop power-loss
all: $(if $(CROSS),lib,$(O)/naru)
lib: $(foreach l,$(FULL),$(call lib,$(l)))

# --- objects, archives, the binary -------------------------------------------------------------------
$(O)/obj/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(if $(filter 0,$(V)),@echo "  CC   $<")
	$(Q)$(CC) $(ALL_CFLAGS) $(call isa,$<) $(call kernel_opt,$<) -MMD -MP -c -o $@ $<
$(O)/obj/src/cmd/%.o: ALL_CFLAGS += -DNARU_VERSION='"$(VERSION)"' -DNARU_COMMIT='"$(COMMIT)"'

# The web page: web/ as one text inside the program.
$(O)/gen/api/page_data.h: tools/embed-page $(wildcard web/*)
	@mkdir -p $(@D)
	$(Q)tools/embed-page web > $@.part && mv $@.part $@
$(O)/obj/src/api/routes_page.o: $(O)/gen/api/page_data.h
$(O)/obj/src/api/routes_page.o: ALL_CFLAGS += -I$(O)/gen

define layer_rule
$(call lib,$(1)): $(patsubst %.c,$(O)/obj/%.o,$(call layer_src,$(1)))
	@mkdir -p $$(@D)
	$(Q)rm -f $$@ && $(AR) rcs $$@ $$^
endef
$(foreach l,$(FULL),$(eval $(call layer_rule,$(l))))

$(O)/naru: $(O)/obj/src/cmd/main.o $(call upto,cmd)
	$(if $(filter 0,$(V)),@echo "  LD   $@")
	$(Q)$(CC) $(OPTS) $(LDFLAGS) -o $@ $^ $(LIBS)

# --- unit tests: one program a layer, linked with that layer and lower ones only -----------------------
UNIT_LAYERS := $(foreach l,$(FULL),$(if $(wildcard tests/unit/$(l)/*_test.c),$(l)))
unit_src = $(sort $(wildcard tests/unit/$(1)/*_test.c))
define unit_rule
$(O)/tests/unit_$(1).c: $(call unit_src,$(1)) tests/unit/main.sh
	@mkdir -p $$(@D)
	$(Q)sh tests/unit/main.sh $(call unit_src,$(1)) > $$@
$(O)/tests/unit_$(1): $(O)/tests/unit_$(1).c $(patsubst %.c,$(O)/obj/%.o,$(call unit_src,$(1))) $(call upto,$(1))
	$(if $(filter 0,$(V)),@echo "  LD   $$@")
	$(Q)$$(CC) $$(ALL_CFLAGS) $$(LDFLAGS) -o $$@ $$^ $$(LIBS) -lcmocka
endef
$(foreach l,$(UNIT_LAYERS),$(eval $(call unit_rule,$(l))))
$(O)/obj/tests/%.o: ALL_CFLAGS += -Itests
UNIT_BINS := $(patsubst %,$(O)/tests/unit_%,$(UNIT_LAYERS))
check: $(UNIT_BINS)
	$(Q)sh tests/tap.sh $(UNIT_BINS)

# --- the kernel referee ----------------------------------------------------------------------------------
CHECKKERNEL_SRC := $(wildcard tests/checkkernel/*.c)
$(O)/tests/checkkernel: $(patsubst %.c,$(O)/obj/%.o,$(CHECKKERNEL_SRC)) $(call upto,kernel)
	@mkdir -p $(@D)
	$(if $(filter 0,$(V)),@echo "  LD   $@")
	$(Q)$(CC) $(OPTS) $(LDFLAGS) $(if $(CROSS),-static) -o $@ $^ -lm -lpthread
checkkernel: $(O)/tests/checkkernel
	$(Q)$(if $(CROSS),qemu-aarch64 )$(O)/tests/checkkernel

# --- fuzzing: clang's engine for campaigns, a plain replay of the corpora for every run -----------------------
FUZZ_TARGETS := $(patsubst tests/fuzz/%.c,%,$(filter-out tests/fuzz/replay.c,$(wildcard tests/fuzz/*.c)))
TARGET  ?= $(firstword $(FUZZ_TARGETS))
SECONDS ?= 60
$(O)/tests/fuzz_%: $(O)/obj/tests/fuzz/%.o $(O)/obj/tests/fuzz/replay.o $(call upto,api)
	$(Q)$(CC) $(OPTS) $(LDFLAGS) -o $@ $^ $(LIBS)
FUZZ_BINS := $(patsubst %,$(O)/tests/fuzz_%,$(FUZZ_TARGETS))
fuzz-bins: $(FUZZ_BINS)
fuzz-replay: $(FUZZ_BINS)
	$(Q)sh tests/fuzz/replay.sh $^
$(O)/tests/engine_%: $(O)/obj/tests/fuzz/%.o $(call upto,api)
	@mkdir -p $(@D)
	$(Q)$(CC) $(subst fuzzer-no-link,fuzzer,$(OPTS)) $(LDFLAGS) -o $@ $^ $(LIBS)
fuzz:
	$(MAKE) BUILD=fuzz CC=clang build/fuzz/tests/engine_$(TARGET)
	mkdir -p build/fuzz/corpus/$(TARGET) tests/fuzz/corpus/$(TARGET)
	build/fuzz/tests/engine_$(TARGET) -max_total_time=$(SECONDS) -rss_limit_mb=2048 -timeout=10 \
	  build/fuzz/corpus/$(TARGET) tests/fuzz/corpus/$(TARGET)

# --- faults: long campaigns; ./run test runs short ones ----------------------------------------------------
ROUNDS  ?= 10000
IMAGES  ?= 100000
SEED    ?= 1
$(O)/tests/fault_%: $(O)/obj/tests/fault/%.o $(call upto,kv)
	@mkdir -p $(@D)
	$(Q)$(CC) $(OPTS) $(LDFLAGS) -o $@ $^ $(LIBS)
kill-loop: $(O)/tests/fault_kill_loop
	$< $(ROUNDS) $(SEED)
power-loss: $(O)/tests/fault_power_loss
	$< $(IMAGES) $(SEED)

# --- the rest -----------------------------------------------------------------------------------------------
test:
	$(Q)sh tests/all.sh
tidy:
	$(Q)tools/check-layers src/LAYERS $$(find src -name '*.[ch]')
	$(Q)python3 tools/tidy
bench: all
	$(Q)$(O)/naru bench
# Pictures of the page for docs/ (needs Chromium).
screenshots: all
	NARU_SHOTS=docs/img python3 tests/e2e/page_test.py
install: all
	install -D -m 755 $(O)/naru $(DESTDIR)/usr/bin/naru
	install -D -m 644 models/naru-chat.gguf $(DESTDIR)/usr/share/naru/models/naru-chat.gguf
	install -d $(DESTDIR)/usr/share/man/man1
	$(O)/naru help --man > $(DESTDIR)/usr/share/man/man1/naru.1
	install -d $(DESTDIR)/usr/share/man/man5 $(DESTDIR)/usr/share/bash-completion/completions $(DESTDIR)/usr/share/zsh/vendor-completions
	$(O)/naru help --man-conf > $(DESTDIR)/usr/share/man/man5/naru.conf.5
	$(O)/naru completion bash > $(DESTDIR)/usr/share/bash-completion/completions/naru
	$(O)/naru completion zsh > $(DESTDIR)/usr/share/zsh/vendor-completions/_naru
# The Debian package, build/naru_VERSION_ARCH.deb; deb-test installs, starts, asks and purges it in a fresh chroot (root).
deb: all
	sh packaging/make-deb.sh $(O)
deb-test: deb
	sh packaging/test-deb.sh $(O)
clean:
	rm -rf build
print-%:
	@echo $($*)

-include $(shell find $(O)/obj -name '*.d' 2>/dev/null)
