// What the tests of src/net share: a reactor on a simulated kernel, and a log of what handlers heard.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "kernel.h"
#include "support/catch.h"
#include "warren/warren.h"

namespace warren::sim {

using namespace std::chrono_literals;

inline const Address kHere = Address::ipv4({127, 0, 0, 1}, 80);

// "ECONNRESET/read", "tooMuch/linger"; "clean" without an error.
inline std::string describe(const Error& error) {
  return error ? error.name() + "/" + std::string(stepName(error.step())) : "clean";
}

// Text that does not repeat within any size of a buffer, so that a lost or doubled byte shows.
inline std::string pattern(size_t size) {
  std::string text(size, '\0');
  uint32_t state = 12345;
  for (char& each : text) {
    state = state * 1664525 + 1013904223;
    each = static_cast<char>('!' + (state >> 16) % 90);
  }
  return text;
}

// What the handlers of some sockets heard: "open", "data", "drain", "end", "close clean", ...
struct Log {
  std::vector<std::string> lines;
  std::string input;    // all bytes given to `data`
  SocketHandle socket;  // the last one that spoke

  void note(SocketHandle from, std::string line) {
    socket = from;
    lines.push_back(std::move(line));
  }
  size_t count(const std::string& line) const {
    size_t found = 0;
    for (const std::string& each : lines) found += each == line;
    return found;
  }
  // "open data end close clean" would be one line each; repeated ones count.
  std::string text() const {
    std::string joined;
    for (const std::string& each : lines) joined += (joined.empty() ? "" : ", ") + each;
    return joined;
  }
};

// Handlers that only keep the log.
template <class Data = Empty>
SocketHandlers<Data> keeping(Log& log) {
  SocketHandlers<Data> handlers;
  handlers.open = [&log](SocketHandle socket) { log.note(socket, "open"); };
  handlers.data = [&log](SocketHandle socket, Bytes bytes) {
    log.input += asText(bytes);
    log.note(socket, "data");
  };
  handlers.drain = [&log](SocketHandle socket) { log.note(socket, "drain"); };
  handlers.end = [&log](SocketHandle socket) { log.note(socket, "end"); };
  handlers.close = [&log](SocketHandle socket, const Error& error) {
    log.note(socket, "close " + describe(error));
  };
  handlers.error = [&log](SocketHandle socket, const Error& error) {
    log.note(socket, "error " + error.message());
  };
  handlers.timeout = [&log](SocketHandle socket) { log.note(socket, "timeout"); };
  handlers.connectError = [&log](SocketHandle socket, const Error& error) {
    log.note(socket, "connectError " + describe(error));
  };
  return handlers;
}

// A kernel with a reactor on it. When it goes, no descriptor is left.
struct World {
  Kernel kernel;
  std::optional<Reactor> owned;
  Reactor& reactor;

  explicit World(ReactorOptions options = {})
      : owned(std::in_place, std::move(options)), reactor(*owned) {}
  ~World() { shutDown(); }
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  void shutDown() {
    if (!owned) return;
    owned.reset();
    CHECK(kernel.openDescriptors().empty());
  }

  // Turns, without waiting, until nothing more happens.
  void settle() {
    int turns = 0;
    do {
      reactor.step();
      if (++turns == 20'000) FAIL("the reactor spins");
    } while (kernel.eventPending() || reactor.nextDeadline() == 0ms);
  }

  // Lets simulated time pass, with all that happens meanwhile.
  void elapse(Nanoseconds span) {
    const uint64_t until = kernel.now() + static_cast<uint64_t>(span.count());
    kernel.after(span, [this] { kernel.interrupt(); });
    while (kernel.now() < until) reactor.step(24h);
    settle();
  }

  // Turns until the log has such a line, and gives the simulated time that took.
  Nanoseconds timeUntil(const Log& log, const std::string& line) {
    const uint64_t begin = kernel.now();
    while (log.count(line) == 0) reactor.step(24h);
    return Nanoseconds(kernel.now() - begin);
  }
};

// One listener with one accepted socket and the peer behind it.
struct Served : World {
  Log log;
  Listener<> listener;
  Peer peer;
  Socket<> socket;

  explicit Served(ListenOptions<> options = {}, ReactorOptions reactorOptions = {})
      : World(std::move(reactorOptions)) {
    if (options.unix.empty()) {
      options.hostname = "127.0.0.1";
      options.port = 80;
    }
    if (!options.socket.data && !options.socket.drain) options.socket = keeping(log);
    const std::string path = options.unix;
    listener = reactor.listen(std::move(options)).value();
    peer = path.empty() ? kernel.connect(80) : kernel.connectUnix(path);
    settle();
    socket = Socket<>(log.socket);
    log.lines.clear();
  }
};

}  // namespace warren::sim
