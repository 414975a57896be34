// Runs every target on what is kept in fuzz/corpus, without a fuzzing engine.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "fuzz.h"
#include "support/catch.h"
#include "warren/config.h"

namespace warren::fuzz {
namespace {

using std::filesystem::directory_iterator;
using std::filesystem::path;

const path kCorpus = "fuzz/corpus";

std::vector<std::byte> contentOf(const path& file) {
  std::ifstream stream(file, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(stream)), {});
  REQUIRE_FALSE(stream.bad());
  const Bytes bytes = asBytes(text);
  return {bytes.begin(), bytes.end()};  // a block of its own size: a sanitizer sees its end
}

// The corpus of a target, and what is no input at all. A broken promise ends the program; Catch2 then
// tells which file it was.
void replay(const std::string& name) {
  const auto& targets = Target::all();
  const auto target = std::find_if(targets.begin(), targets.end(),
                                   [&](const Target* each) { return each->name == name; });
  REQUIRE(target != targets.end());
  (*target)->run({});
  size_t count = 0;
  for (const auto& entry : directory_iterator(kCorpus / name)) {
    INFO(entry.path());
    (*target)->run(contentOf(entry.path()));
    ++count;
  }
  REQUIRE(count > 0);
}

}  // namespace

TEST_CASE("address: its fuzz corpus keeps every promise", "[fuzz]") { replay("address"); }
TEST_CASE("connection: its fuzz corpus keeps every promise", "[fuzz]") { replay("connection"); }
TEST_CASE("proxy_protocol: its fuzz corpus keeps every promise", "[fuzz]") {
  replay("proxy_protocol");
}
TEST_CASE("ring_buffer: its fuzz corpus keeps every promise", "[fuzz]") { replay("ring_buffer"); }
TEST_CASE("slab: its fuzz corpus keeps every promise", "[fuzz]") { replay("slab"); }
TEST_CASE("timer_wheel: its fuzz corpus keeps every promise", "[fuzz]") { replay("timer_wheel"); }

#if WARREN_TLS
TEST_CASE("pem: its fuzz corpus keeps every promise", "[fuzz]") { replay("pem"); }
TEST_CASE("tls_client: its fuzz corpus keeps every promise", "[fuzz]") { replay("tls_client"); }
TEST_CASE("tls_server: its fuzz corpus keeps every promise", "[fuzz]") { replay("tls_server"); }
TEST_CASE("upgrade: its fuzz corpus keeps every promise", "[fuzz]") { replay("upgrade"); }
#endif

TEST_CASE("every fuzz target is replayed here", "[fuzz]") {
  REQUIRE(Target::all().size() == (WARREN_TLS ? 10 : 6));
}

}  // namespace warren::fuzz
