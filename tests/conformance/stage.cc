#include "conformance/stage.h"

#include <algorithm>
#include <chrono>
#include <system_error>

namespace warren::conformance {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr Duration kQuietTurn = 2ms;
constexpr int kQuietTurns = 4;
constexpr auto kPatience = 10s;
constexpr auto kDiffPatience = 1s;

// What grows whenever anything happens.
uint64_t activity(const Stats& stats) {
  return stats.events + stats.readyRuns + stats.timersFired + stats.reads + stats.writes +
         stats.opened + stats.closed + stats.connectFailures + stats.accepted;
}

// The lines of both with "-" before those that are missing and "+" before those that are new.
std::string difference(const Lines& wanted, const Lines& found) {
  std::vector<std::vector<size_t>> common(wanted.size() + 1, std::vector<size_t>(found.size() + 1));
  for (size_t w = wanted.size(); w-- > 0;) {
    for (size_t f = found.size(); f-- > 0;) {
      common[w][f] = wanted[w] == found[f] ? common[w + 1][f + 1] + 1
                                           : std::max(common[w + 1][f], common[w][f + 1]);
    }
  }
  std::string text;
  size_t w = 0;
  size_t f = 0;
  while (w < wanted.size() || f < found.size()) {
    if (w < wanted.size() && f < found.size() && wanted[w] == found[f]) {
      text += "      " + wanted[w++] + "\n";
      ++f;
    } else if (w < wanted.size() && (f == found.size() || common[w + 1][f] >= common[w][f + 1])) {
      text += "    - " + wanted[w++] + "\n";
    } else {
      text += "    + " + found[f++] + "\n";
    }
  }
  return text;
}

std::string difference(const std::map<std::string, Lines>& wanted,
                       const std::map<std::string, Lines>& found) {
  std::map<std::string, std::pair<Lines, Lines>> actors;
  for (const auto& [who, lines] : wanted) actors[who].first = lines;
  for (const auto& [who, lines] : found) actors[who].second = lines;
  std::string text;
  for (const auto& [who, lines] : actors) {
    if (lines.first == lines.second) continue;
    text += "  " + who + " (- expected, + warren)\n" + difference(lines.first, lines.second);
  }
  return text;
}

std::set<std::string>& played() {
  static std::set<std::string> names;
  return names;
}

}  // namespace

Played::Played(const char* scenario) { played().insert(scenario); }
const std::set<std::string>& Played::all() { return played(); }

Stage::Stage(const std::string& scenario, ReactorOptions options)
    : recording_(Recording::load(scenario)), reactor_(std::move(options)) {}

// --- actors ----------------------------------------------------------------------------------------

Table Stage::complete(const std::string& who, Table then) {
  Table table;
  table.open = [this, who, open = then.open](Actor socket) {
    call(nameOf(who, socket), socket);
    event(who, socket, "open");
    if (open) open(socket);
    settled(nameOf(who, socket), socket, "resolved");
  };
  table.data = [this, who, data = then.data](Actor socket, Bytes bytes) {
    this->data(who, socket, bytes);
    if (data) data(socket, bytes);
  };
  table.drain = [this, who, drain = then.drain](Actor socket) {
    event(who, socket, "drain");
    if (drain) drain(socket);
  };
  table.end = [this, who, end = then.end](Actor socket) {
    event(who, socket, "end");
    if (end) end(socket);
  };
  table.timeout = [this, who, timeout = then.timeout](Actor socket) {
    event(who, socket, "timeout");
    if (timeout) timeout(socket);
  };
  table.close = [this, who, close = then.close](Actor socket, const Error& error) {
    event(who, socket, error ? "close error=" + shown(error) : "close");
    if (close) close(socket, error);
  };
  table.error = [this, who, handler = then.error](Actor socket, const Error& error) {
    event(who, socket, "error error=" + shown(error));
    if (handler) handler(socket, error);
  };
  // Its presence changes what `open` means.
  if (then.handshake) {
    table.handshake = [this, who, handler = then.handshake](Actor socket, bool success,
                                                            const Error& error) {
      event(who, socket,
            std::string("handshake success=") + (success ? "true" : "false") +
                " error=" + (error ? shown(error) : "null"));
      handler(socket, success, error);
    };
  }
  table.connectError = [this, who, handler = then.connectError](Actor socket, const Error& error) {
    event(who, socket, "connectError error=" + shown(error));
    if (handler) handler(socket, error);
    settled(who, socket, "rejected " + shown(error));
  };
  return table;
}

std::string Stage::nameOf(const std::string& who, Actor socket) {
  if (who.back() != '#') return who;
  std::string& name = names_[socket.number()];
  if (name.empty()) name = who + std::to_string(++numbers_[who]);
  return name;
}

std::string Stage::stateOf(const std::string& who, Actor socket) const {
  if (recording_.showReadyState.count(who) == 0) return "";
  return " rs " + shown(conformance::readyState(socket));
}

void Stage::event(const std::string& who, Actor socket, const std::string& text) {
  const std::string name = nameOf(who, socket);
  Event event{name, text};
  if (text == "drain") event.kind = Event::Kind::drain;
  event.tail = stateOf(name, socket);
  if (!inside_.empty()) event.inside = " [in " + inside_.back() + "]";
  trace_.add(std::move(event));
}

void Stage::data(const std::string& who, Actor socket, Bytes bytes) {
  const std::string name = nameOf(who, socket);
  Event event{name, "data", Event::Kind::data, bytes.size()};
  if (bytes.size() <= 256) event.content = asText(bytes);
  event.tail = stateOf(name, socket);
  if (!inside_.empty()) event.inside = " [in " + inside_.back() + "]";
  trace_.add(std::move(event));
}

void Stage::settled(const std::string& who, Actor socket, const std::string& text) {
  if (promises_.count(who) == 0) return;
  Event event{who, "promise " + text};
  if (recording_.showPromiseState.count(who) > 0) {
    event.tail = " rs " + shown(conformance::readyState(socket));
  }
  trace_.add(std::move(event));
}

Actor Stage::operator[](const std::string& who) const {
  const auto found = sockets_.find(who);
  if (found == sockets_.end()) throw std::runtime_error("no socket of the name " + who);
  return found->second;
}

Host Stage::listen(Table table, Listening options) {
  if (options.unix.empty()) {
    if (options.hostname.empty()) options.hostname = "127.0.0.1";
    if (!options.port) options.port = 0;
  }
  options.socket = std::move(table);
  host_ = reactor_.listen(std::move(options)).value();
  return host_;
}

Actor Stage::connect(const std::string& who, Table table, Connecting options) {
  if (options.unix.empty() && options.hostname.empty() && !options.port) {
    options.unix = host_.unixPath();
  }
  if (options.unix.empty()) {
    if (options.hostname.empty()) options.hostname = "127.0.0.1";
    if (!options.port) options.port = host_.port();
  }
  options.socket = std::move(table);
  const Actor socket = reactor_.connect(std::move(options)).value();
  call(who, socket);
  return socket;
}

Host Stage::pair(Table server, Table client, Listening listening, Connecting connecting) {
  const Host host = listen(std::move(server), std::move(listening));
  join("client", std::move(client), std::move(connecting));
  return host;
}

Actor Stage::join(const std::string& who, Table table, Connecting options) {
  const uint64_t accepted = reactor_.stats().accepted;
  const Actor socket = connect(who, std::move(table), std::move(options));
  until([&] {
    return reactor_.stats().accepted > accepted && socket.readyState() != ReadyState::connecting;
  });
  return socket;
}

Result<Host> Stage::listens(const std::string& who, const std::string& what, Listening options) {
  return does(who, what, [&] { return reactor_.listen(std::move(options)); });
}

Result<Actor> Stage::connects(const std::string& who, const std::string& what, Connecting options) {
  return does(who, what, [&] { return reactor_.connect(std::move(options)); });
}

Table Stage::completion(const std::string& who) {
  promise(who);
  Table table;
  table.open = [this, who](Actor socket) {
    call(who, socket);
    settled(who, socket, "resolved");
  };
  table.data = [](Actor, Bytes) {};
  table.connectError = [this, who](Actor socket, const Error& error) {
    settled(who, socket, "rejected " + shown(error));
  };
  return table;
}

// --- noting ----------------------------------------------------------------------------------------

void Stage::line(const std::string& who, const std::string& text) { trace_.add({who, text}); }

void Stage::note(const std::string& who, const std::string& what) { line(who, "? " + what); }

void Stage::note(const std::string& who, const std::string& what, const Json& value) {
  line(who, "? " + what + " = " + shown(value));
}

Stage::Inside::Inside(Stage& stage, const std::string& who, const std::string& what)
    : at(stage.trace_.add({who, "> " + what})), stage_(stage) {
  stage.inside_.push_back(what.substr(0, what.find('(')));
}

Stage::Inside::~Inside() { stage_.inside_.pop_back(); }

std::ptrdiff_t Stage::write(const std::string& who, std::string_view text) {
  return does(who, "write(\"" + std::string(text) + "\")",
              [&] { return (*this)[who].write(text); });
}

std::ptrdiff_t Stage::end(const std::string& who) {
  return does(who, "end()", [&] { return (*this)[who].end(); });
}

std::ptrdiff_t Stage::end(const std::string& who, std::string_view text) {
  return does(who, "end(\"" + std::string(text) + "\")", [&] { return (*this)[who].end(text); });
}

void Stage::close(const std::string& who) {
  does(who, "close()", [&] { (*this)[who].close(); });
}

void Stage::terminate(const std::string& who) {
  does(who, "terminate()", [&] { (*this)[who].terminate(); });
}

void Stage::shutdown(const std::string& who) {
  does(who, "shutdown()", [&] { (*this)[who].shutdown(); });
}

void Stage::pause(const std::string& who) {
  does(who, "pause()", [&] { (*this)[who].pause(); });
}

void Stage::resume(const std::string& who) {
  does(who, "resume()", [&] { (*this)[who].resume(); });
}

void Stage::readyState(const std::string& who, const std::string& what) {
  note(who, what, conformance::readyState((*this)[who]));
}

// --- waiting ---------------------------------------------------------------------------------------

void Stage::step(Duration patience) {
  try {
    reactor_.step(patience);
  } catch (const std::exception& thrown) {
    if (!uncaught) throw;
    uncaught(thrown);
  }
}

void Stage::quiet() {
  const auto deadline = Clock::now() + kPatience;
  for (int idle = 0; idle < kQuietTurns;) {
    const uint64_t before = activity(reactor_.stats());
    step(kQuietTurn);
    idle = activity(reactor_.stats()) == before ? idle + 1 : 0;
    if (Clock::now() > deadline) throw std::runtime_error("it never becomes quiet");
  }
}

void Stage::until(const std::function<bool()>& condition) {
  const auto deadline = Clock::now() + kPatience;
  while (!condition()) {
    if (Clock::now() > deadline) {
      throw std::runtime_error("what was waited for did not come; so far\n" + trace_.text());
    }
    step(kQuietTurn);
  }
  quiet();
}

void Stage::pass(Duration time) {
  const auto end = Clock::now() + std::chrono::milliseconds(time.count());
  while (Clock::now() < end) step(kQuietTurn);
}

size_t Stage::count(const std::string& who, const std::string& event) const {
  const auto& events = trace_.events();
  return static_cast<size_t>(std::count_if(events.begin(), events.end(), [&](const Event& one) {
    return one.who == who && one.text.rfind(event, 0) == 0;
  }));
}

void Stage::awaits(const std::string& who, const std::string& event, size_t times) {
  until([&] { return count(who, event) >= times; });
}

void Stage::reads(const std::string& who, test::RawSocket& raw) {
  std::string text;
  std::string then = "eof";
  try {
    until([&] {
      text += raw.readSome();
      return raw.ended();
    });
  } catch (const std::system_error& error) {
    then = error.code().value() == ECONNRESET ? "ECONNRESET" : error.what();
  }
  line(who, "reads " + Json{{"bytes", text.size()}, {"text", text}, {"then", then}}.dump());
}

// --- comparing -------------------------------------------------------------------------------------

void Stage::conforms() {
  std::map<std::string, Lines> wanted;
  REQUIRE_NOTHROW(wanted = expected(recording_));
  const auto same = [&] { return trace_.byActor(recording_.folding) == wanted; };
  quiet();
  const auto deadline = Clock::now() + kDiffPatience;
  while (!same() && Clock::now() < deadline) step(kQuietTurn);
  quiet();
  const auto found = trace_.byActor(recording_.folding);
  INFO(recording_.scenario << ": " << recording_.title << "\n"
                           << difference(wanted, found) << "in order:\n"
                           << trace_.text());
  const bool asExpected = found == wanted;
  REQUIRE(asExpected);
}

// --- values ----------------------------------------------------------------------------------------

Json readyState(Actor socket) {
  switch (socket.readyState()) {
    case ReadyState::connecting:
      return 2;
    case ReadyState::open:
      return 1;
    case ReadyState::ended:
      return "ended";
    case ReadyState::peerEnded:
      return "peerEnded";
    case ReadyState::closed:
      break;
  }
  return -1;
}

Json amount(std::ptrdiff_t taken, size_t given) {
  if (taken == static_cast<std::ptrdiff_t>(given)) return "full";
  if (taken > 0 && taken < static_cast<std::ptrdiff_t>(given)) return "partial";
  return taken;
}

const std::vector<std::byte>& bytes(size_t count) {
  static std::map<size_t, std::vector<std::byte>> made;
  std::vector<std::byte>& bytes = made[count];
  if (bytes.empty()) bytes = test::pattern(count, 1);
  return bytes;
}

}  // namespace warren::conformance
