// Recorder: what happened, in order, as lines a test can compare.
#pragma once

#include <algorithm>
#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "warren/bytes.h"
#include "warren/handlers.h"
#include "warren/socket.h"

namespace warren::test {

// Notes one line "who event detail" for each handler call: the text for `data`, the name of the error
// for the rest ("clean" when there is none). Lines of several sockets share one order.
class Recorder {
 public:
  // A table that notes everything, and nothing else. The recorder must outlive it.
  template <class Data = Empty>
  SocketHandlers<Data> handlers(const std::string& who) {
    SocketHandlers<Data> table;
    table.open = [this, who](auto) { note(who, "open"); };
    table.data = [this, who](auto, Bytes bytes) { data(who, bytes); };
    table.drain = [this, who](auto) { note(who, "drain"); };
    table.end = [this, who](auto) { note(who, "end"); };
    table.close = [this, who](auto, const Error& error) { note(who, "close", error); };
    table.error = [this, who](auto, const Error& error) { note(who, "error", error); };
    table.timeout = [this, who](auto) { note(who, "timeout"); };
    table.connectError = [this, who](auto, const Error& error) {
      note(who, "connectError", error);
    };
    return table;
  }

  void note(const std::string& who, const std::string& event, const std::string& detail = {}) {
    lines_.push_back(who + " " + event + (detail.empty() ? "" : " " + detail));
  }
  void note(const std::string& who, const std::string& event, const Error& error) {
    errors_[who] = error;
    note(who, event, error ? error.name() : "clean");
  }
  // How TCP cuts a stream into `data` calls is chance: neighbours are one line.
  void data(const std::string& who, Bytes bytes) {
    const std::string prefix = who + " data ";
    if (lines_.empty() || !lines_.back().starts_with(prefix)) lines_.push_back(prefix);
    lines_.back() += asText(bytes);
  }

  const std::vector<std::string>& lines() const { return lines_; }
  // The lines of one socket, without its name.
  std::vector<std::string> of(const std::string& who) const {
    std::vector<std::string> own;
    for (const std::string& line : lines_) {
      if (line.starts_with(who + " ")) own.push_back(line.substr(who.size() + 1));
    }
    return own;
  }
  // How many lines begin with this.
  size_t count(const std::string& prefix) const {
    const auto begins = [&](const std::string& line) { return line.starts_with(prefix); };
    return static_cast<size_t>(std::count_if(lines_.begin(), lines_.end(), begins));
  }
  bool has(const std::string& prefix) const { return count(prefix) > 0; }
  // The last error told to this one.
  Error error(const std::string& who) const {
    const auto found = errors_.find(who);
    return found != errors_.end() ? found->second : Error();
  }

 private:
  std::vector<std::string> lines_;
  std::map<std::string, Error> errors_;
};

using Lines = std::vector<std::string>;

}  // namespace warren::test
