// Trace: what happened in a scenario, in order, in a form that can be stored, printed and compared.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "warren/bytes.h"
#include "warren/result.h"

namespace warren::conformance {

using Json = nlohmann::json;
using Lines = std::vector<std::string>;

// One line of a trace, such as "client  close rs -1 [in close]".
struct Event {
  enum class Kind : uint8_t { other, data, drain };

  std::string who;
  std::string text;  // all of the line that is known when it is noted
  Kind kind = Kind::other;
  uint64_t bytes = 0;     // data only
  std::string content{};  // data only, as far as it is short and printable
  std::string tail{};     // " rs 1", after the bytes of a data event
  std::string inside{};   // " [in close]"

  std::string line() const { return text + tail + inside; }
};

// How a trace is folded so that chance does not show: how TCP cuts a stream, how often a large
// transfer meets a full buffer.
struct Folding {
  std::set<std::string> bare{};    // actors whose data events do not show their content
  std::set<std::string> drains{};  // actors of whom one drain is as good as ten
  // What stands for the sum of an actor's bytes.
  std::map<std::string, std::function<std::string(uint64_t bytes)>> totals{};
};

class Trace {
 public:
  // The place of an event, for those that are finished later.
  size_t add(Event event);
  void amend(size_t at, const std::string& more) { events_[at].text += more; }

  const std::vector<Event>& events() const { return events_; }

  // The lines of each actor in their order, which is what is compared: successive data events of one
  // actor are one line with the sum of their bytes.
  std::map<std::string, Lines> byActor(const Folding& folding) const;

  // All lines in order, for people.
  std::string text() const;

 private:
  std::vector<Event> events_;
};

// A scenario as it was recorded from the reference.
struct Recording {
  std::string scenario;
  std::string category;
  std::string title;
  Trace trace;
  std::set<std::string> actors;
  std::set<std::string> showReadyState;    // actors whose events tell it
  std::set<std::string> showPromiseState;  // actors whose completion of connect tells it
  Folding folding;

  // From the directory of traces: $WARREN_TRACES, or tests/conformance/traces.
  static Recording load(const std::string& scenario);
};

std::string traceDirectory();

// The names of all stored traces.
std::vector<std::string> storedTraces();

// A value as traces show it: JSON, with undefined for "no value".
std::string shown(const Json& value);

// An error as traces show it: "ECONNRESET/read", "ERR_OUT_OF_RANGE", or "boom" for what a handler
// threw. warren and the reference call some things by different names; these are translated.
std::string shown(const Error& error);

}  // namespace warren::conformance
