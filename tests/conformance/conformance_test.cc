// The suite itself: nothing forgotten, nothing left over, and a README that tells the truth.
#include <algorithm>
#include <fstream>
#include <iterator>

#include "conformance/stage.h"
#include "os/platform.h"

namespace warren::conformance {
namespace {

std::set<std::string> stored() {
  const std::vector<std::string> names = storedTraces();
  return {names.begin(), names.end()};
}

// What a build without exceptions or TLS, or another system than Linux, leaves out.
bool leftOut([[maybe_unused]] const std::string& scenario) {
#if !WARREN_LIBRARY_EXCEPTIONS
  if (Recording::load(scenario).category == "errors") return true;
  if (scenario == "connect-connecterror-throws") return true;
#endif
#if !WARREN_TLS
  if (scenario.rfind("tls-", 0) == 0) return true;
#endif
#if !WARREN_LINUX
  if (scenario == "nodelay-default") return true;
#endif
  return false;
}

TEST_CASE("every stored trace is played, and every scenario played is stored", "[conformance]") {
  const std::set<std::string> traces = stored();
  for (const std::string& scenario : traces) {
    INFO(scenario);
    REQUIRE((Played::all().count(scenario) == 1 || leftOut(scenario)));
  }
  for (const std::string& scenario : Played::all()) {
    INFO(scenario);
    REQUIRE(traces.count(scenario) == 1);
  }
}

TEST_CASE("every deviation belongs to a scenario, and every reason has one", "[conformance]") {
  const std::set<std::string> traces = stored();
  std::set<std::string> used;
  for (const Deviation& deviation : Deviations::all().table) {
    INFO(deviation.scenario);
    REQUIRE(traces.count(deviation.scenario) == 1);
    used.insert(deviation.reasons.begin(), deviation.reasons.end());
  }
  for (const Deviation& rule : Deviations::all().everywhere) {
    used.insert(rule.reasons.begin(), rule.reasons.end());
  }
  for (const auto& reason : Deviations::all().reasons) {
    INFO(reason.key);
    REQUIRE(used.count(reason.key) == 1);
  }
}

TEST_CASE("the README has the table of deviations", "[conformance]") {
  std::ifstream file(traceDirectory() + "/../README.md");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const std::string table = Deviations::all().markdown();
  INFO("the table it should have:\n" << table);
  const bool found = text.find(table) != std::string::npos;
  REQUIRE(found);
}

TEST_CASE("a trace folds data of one actor, and nothing else", "[conformance]") {
  Trace trace;
  const auto data = [](const std::string& who, const std::string& text) {
    return Event{who, "data", Event::Kind::data, text.size(), text};
  };
  trace.add(data("a", "he"));
  trace.add({"b", "open"});
  trace.add(data("a", "llo"));
  trace.add({"a", "end"});
  trace.add(data("a", "!"));
  trace.add({"b", "drain", Event::Kind::drain});
  trace.add({"b", "drain", Event::Kind::drain});
  REQUIRE(trace.byActor({})["a"] == Lines{"data 5 bytes \"hello\"", "end", "data 1 bytes \"!\""});
  REQUIRE(trace.byActor({})["b"] == Lines{"open", "drain", "drain"});
  REQUIRE(trace.byActor({.drains = {"b"}})["b"] == Lines{"open", "drain x1+"});
  REQUIRE(trace.byActor({.bare = {"a"}})["a"] == Lines{"data 5 bytes", "end", "data 1 bytes"});
}

}  // namespace
}  // namespace warren::conformance
