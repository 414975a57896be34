#include "conformance/trace.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <utility>

namespace warren::conformance {
namespace {

constexpr size_t kLongestContent = 60;

bool printable(const std::string& content) {
  return std::all_of(content.begin(), content.end(),
                     [](unsigned char c) { return std::isprint(c) != 0; });
}

// One event of a stored trace, in the words in which warren's own are noted.
class Reader {
 public:
  explicit Reader(const Json& event) : event_(event) {}

  Event read() {
    result_.who = event_.at("who");
    if (event_.contains("on")) on();
    if (event_.contains("do")) result_.text = "> " + string("do") + outcome();
    if (event_.contains("note")) note();
    if (event_.contains("promise")) result_.text = "promise " + string("promise") + error(" ");
    if (event_.contains("reads")) result_.text = "reads " + event_["reads"].dump();
    if (event_.contains("exit")) exit();
    if (event_.contains("uncaughtException")) thrown("uncaughtException", "uncaught exception ");
    if (event_.contains("unhandledRejection")) thrown("unhandledRejection", "unhandled rejection ");
    if (event_.contains("readyState")) result_.tail += " rs " + event_["readyState"].dump();
    if (event_.contains("this")) result_.tail += " this=" + string("this");
    if (event_.contains("inside")) inside();
    return result_;
  }

 private:
  std::string string(const char* key) const { return event_.at(key).get<std::string>(); }

  void on() {
    result_.text = string("on");
    if (event_.contains("success")) result_.text += " success=" + event_["success"].dump();
    result_.text += error(" error=");
    if (result_.text == "drain") result_.kind = Event::Kind::drain;
    if (result_.text != "data") return;
    result_.kind = Event::Kind::data;
    if (!event_.contains("bytes")) return;
    const Json& bytes = event_["bytes"];
    if (bytes.is_string()) {
      result_.text += " (" + bytes.get<std::string>() + ")";
      return;
    }
    result_.bytes = bytes.get<uint64_t>();
    if (event_.contains("text")) result_.content = string("text");
  }

  std::string outcome() const {
    return event_.contains("throws") ? " !! " + error("throws", "")
                                     : " = " + shown(event_.at("ret"));
  }

  void note() {
    result_.text = "? " + string("note");
    if (event_.contains("value")) result_.text += " = " + shown(event_["value"]);
  }

  void exit() {
    result_.text = "exit " + event_["exit"].dump() + " after " + event_.at("out").dump();
    if (event_.contains("stderrHasBoom")) {
      result_.text += event_["stderrHasBoom"] ? ", reported" : ", not reported";
    }
  }

  void thrown(const char* key, const char* what) { result_.text = what + error(key, ""); }

  void inside() {
    const std::string call = string("inside");
    result_.inside = " [in " + call.substr(call.rfind('.') + 1) + "]";
  }

  std::string error(const char* before) const {
    return event_.contains("error") ? error("error", before) : "";
  }

  std::string error(const char* key, const char* before) const {
    const Json& error = event_.at(key);
    if (error.is_null()) return std::string(before) + "null";
    if (!error.contains("code")) return before + error.at("message").dump();
    std::string text = before + error["code"].get<std::string>();
    if (error["code"] == "EPROTO") text += protocolReason(error.at("message"));
    if (error.contains("syscall")) text += "/" + error["syscall"].get<std::string>();
    return text;
  }

  // "error:1000009c:SSL routines:OPENSSL_internal:HTTP_REQUEST" -> ":HTTP_REQUEST"
  static std::string protocolReason(const std::string& message) {
    return message.substr(message.rfind(':'));
  }

  const Json& event_;
  Event result_;
};

}  // namespace

size_t Trace::add(Event event) {
  events_.push_back(std::move(event));
  return events_.size() - 1;
}

std::map<std::string, Lines> Trace::byActor(const Folding& folding) const {
  std::map<std::string, std::vector<Event>> folded;
  for (const Event& event : events_) {
    std::vector<Event>& own = folded[event.who];
    if (!own.empty() && own.back().kind == event.kind && own.back().tail == event.tail) {
      if (event.kind == Event::Kind::data) {
        own.back().bytes += event.bytes;
        if (own.back().content.size() <= kLongestContent) own.back().content += event.content;
        continue;
      }
      if (event.kind == Event::Kind::drain && folding.drains.count(event.who) > 0) continue;
    }
    own.push_back(event);
  }

  std::map<std::string, Lines> lines;
  for (auto& [who, events] : folded) {
    for (Event& event : events) {
      if (event.kind == Event::Kind::data && event.text == "data") {
        const auto total = folding.totals.find(who);
        if (total != folding.totals.end()) {
          const std::string sum = total->second(event.bytes);
          if (!sum.empty()) event.text += " " + sum;
        } else {
          event.text += " " + std::to_string(event.bytes) + " bytes";
          const std::string& content = event.content;
          if (folding.bare.count(who) == 0 && content.size() == event.bytes && printable(content)) {
            event.text += " " + Json(content).dump();
          }
        }
      }
      if (event.kind == Event::Kind::drain && folding.drains.count(who) > 0) event.text += " x1+";
      lines[who].push_back(event.line());
    }
  }
  return lines;
}

std::string Trace::text() const {
  std::string text;
  for (const Event& event : events_) {
    text += "  " + event.who + "  " + event.text;
    if (event.kind == Event::Kind::data) text += " " + std::to_string(event.bytes) + " bytes";
    text += event.tail + event.inside + "\n";
  }
  return text;
}

std::string traceDirectory() {
  const char* const given = std::getenv("WARREN_TRACES");
  return given != nullptr && *given != '\0' ? given : "tests/conformance/traces";
}

std::vector<std::string> storedTraces() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(traceDirectory())) {
    if (entry.path().extension() == ".json") names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

Recording Recording::load(const std::string& scenario) {
  const std::string path = traceDirectory() + "/" + scenario + ".json";
  std::ifstream file(path);
  if (!file) throw std::runtime_error("no trace " + path + "; set WARREN_TRACES");
  const Json stored = Json::parse(file);

  Recording recording;
  recording.scenario = stored.at("scenario");
  recording.category = stored.at("category");
  recording.title = stored.at("title");
  for (const Json& event : stored.at("events")) {
    const std::string who = event.at("who");
    recording.actors.insert(who);
    if (event.contains("on") && event.contains("readyState")) recording.showReadyState.insert(who);
    if (event.contains("promise") && event.contains("readyState")) {
      recording.showPromiseState.insert(who);
    }
    const bool data = event.contains("on") && event["on"] == "data";
    if (data && !event.contains("text")) recording.folding.bare.insert(who);
    if (data && !event.contains("bytes")) {
      recording.folding.totals[who] = [](uint64_t) { return ""; };
    }
    if (event.contains("times")) recording.folding.drains.insert(who);
    recording.trace.add(Reader(event).read());
  }
  return recording;
}

std::string shown(const Json& value) {
  if (value.is_object() && value.size() == 1 && value.contains("error")) {
    return "error " + value["error"].at("code").get<std::string>();
  }
  if (value.is_object() && value.size() == 1 && value.contains("number")) {
    return value["number"].dump();
  }
  return value.is_string() && value == "undefined" ? "undefined" : value.dump();
}

std::string shown(const Error& error) {
  switch (error.origin()) {
    case Origin::handler:
      try {
        std::rethrow_exception(error.exception());
      } catch (const std::exception& thrown) {
        return Json(thrown.what()).dump();
      }
    case Origin::usage:
      if (error.is(Usage::outOfRange)) return "ERR_OUT_OF_RANGE";
      if (error.is(Usage::missing) || error.is(Usage::invalid)) return "ERR_INVALID_ARG_TYPE";
      return "usage " + error.name();
    case Origin::resolver:
      // A machine without a name server says "try again" where the recording's said "no such name".
      if (error.name() == "EAI_NONAME" || error.name() == "EAI_AGAIN") {
        return "ENOTFOUND/getaddrinfo";
      }
      return error.name() + "/getaddrinfo";
    case Origin::tls:
      // The reference has one code for all that is wrong with the protocol, and the reason in words.
      return error.name().rfind("ERR_SSL_", 0) == 0 ? "EPROTO:" + error.name().substr(8)
                                                    : error.name();
    default:
      break;
  }
  // The reference names the operation where warren names the step of it; none for a handshake.
  if (error.step() == Step::handshake) return error.name();
  const bool listening = error.step() == Step::bind || error.step() == Step::socket;
  return error.name() + "/" + std::string(listening ? "listen" : stepName(error.step()));
}

}  // namespace warren::conformance
