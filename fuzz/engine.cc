// Where libFuzzer, and engines that speak its language, come in.
#include <cstddef>
#include <cstdint>
#include <span>

#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto& targets = warren::fuzz::Target::all();
  WARREN_CHECK(targets.size() == 1);
  targets.front()->run(std::as_bytes(std::span(data, size)));
  return 0;
}
