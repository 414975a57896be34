// A warren server in a process of its own, and the scenario's hold on it.
#pragma once

#include <sys/types.h>

#include <array>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "stress/stress.h"
#include "warren/warren.h"

namespace stress {

// What the handlers of a server have seen.
struct Counts {
  uint64_t opens = 0;
  uint64_t closes = 0;
  uint64_t clean = 0;  // closes without an error
  uint64_t resets = 0;
  uint64_t timeouts = 0;
  uint64_t tls = 0;  // closes with an error of TLS
  uint64_t acceptErrors = 0;
  std::array<uint64_t, 4> own{};  // the scenario's
};

struct Report {
  warren::Stats stats;
  Counts counts;
};

// Inside the process: what the scenario's function fills.
struct Service {
  warren::Reactor reactor;
  Counts counts;
  std::vector<warren::ListenerHandle> listeners;  // stopped at the end
  std::vector<warren::Timer> timers;              // cancelled at the end
  bool stopping = false;                          // the end has come

  // With every open and close counted. A close with an error that no peer can cause ends the scenario.
  warren::SocketHandlers<> counted(warren::SocketHandlers<> handlers);
  // On loopback, in TLS if wanted, with counted handlers.
  warren::ListenOptions<> options(bool tls, warren::SocketHandlers<> handlers);
  warren::Listener<> listen(warren::ListenOptions<> options);
  void every(warren::Duration period, warren::Callback<> function);
  // Holds something of the scenario as long as this process lives.
  void keep(std::shared_ptr<void> thing) { kept.push_back(std::move(thing)); }
  std::vector<std::shared_ptr<void>> kept;
};

// Sends back what comes; half of the sockets by `write`, half by `send`. Reads no more while the peer
// does not take it.
warren::SocketHandlers<> echo();

// A child that dies with its parent.
pid_t spawn(const std::function<void()>& body);
// Waits for it; gives its exit code, or 128 and the signal that ended it.
int await(pid_t child);

class Server {
 public:
  explicit Server(const std::function<void(Service&)>& fill);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  pid_t pid() const { return pid_; }
  uint16_t port(size_t listener = 0) const { return ports_.at(listener); }
  Used used() const { return usedBy(pid_); }
  Report ask();

  // To be called when all peers are gone: the server stops listening, and ends by itself once its
  // last socket is closed. Then every open has had its close, and no descriptor is left.
  Report finish();

 private:
  Report read();

  int channel_ = -1;
  pid_t pid_ = -1;
  std::array<uint16_t, 4> ports_{};
};

}  // namespace stress
