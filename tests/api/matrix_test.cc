// Every handler does everything to its own socket, on both sides, on tcp, unix and TLS: whatever
// happens, each socket that opened closes once, nothing comes after that, and nothing is left over.
#include <array>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "support/catch.h"
#include "support/certificates.h"
#include "support/net.h"
#include "warren/warren.h"

namespace warren {
namespace {

using namespace std::chrono_literals;

#if WARREN_LIBRARY_EXCEPTIONS
constexpr bool kExceptions = true;
#else
constexpr bool kExceptions = false;
#endif

// Data that knows how many of its kind are alive.
struct Counted {
  static inline int alive = 0;
  Counted() { ++alive; }
  Counted(const Counted&) { ++alive; }
  Counted& operator=(const Counted&) = default;
  ~Counted() { --alive; }
};
using Handle = Socket<Counted>;

enum class Transport { tcp, unix, tls };

#if WARREN_TLS
TlsOptions serverTls() { return {.key = test::testLeaf().key, .cert = test::testLeaf().cert}; }
TlsOptions clientTls(bool trusting) {
  static const test::Identity other = test::selfSigned({.subject = "other", .authority = true});
  return {.ca = trusting ? test::testAuthority().cert : other.cert};
}
#else
TlsOptions serverTls() { return {}; }
TlsOptions clientTls(bool) { return {}; }
#endif

constexpr std::array<std::string_view, 8> kHandlers = {"open",  "data",  "drain",   "end",
                                                       "close", "error", "timeout", "connectError"};
// Under TLS there are these as well: `open` before the handshake, `handshake` for better and for worse,
// and what a failed one comes to without it.
constexpr std::array<std::string_view, 4> kTlsHandlers = {"earlyOpen", "handshake", "failure",
                                                          "rejected"};
constexpr std::array<std::string_view, 15> kActions = {
    "write",      "send",        "end",     "terminate",      "shutdown",
    "close",      "pause",       "reload",  "reloadListener", "stop",
    "stopActive", "stopReactor", "connect", "upgradeTls",     "destroyAfter"};

// One cell of the matrix.
class Trial {
 public:
  Trial(std::string_view handler, std::string_view action, bool onServer, Transport transport)
      : handler_(handler), action_(action), onServer_(onServer), transport_(transport) {}

  void run();

 private:
  void listen();
  void dial(SocketHandlers<Counted> handlers);
  SocketHandlers<Counted> subject();
  SocketHandlers<Counted> peer();
  void provoke(Handle socket);  // in the peer's open
  void prepare(Handle socket);  // in the subject's open
  void act(Handle socket);
  void actIf(std::string_view handler, Handle socket) {
    if (handler == handler_) act(socket);
  }
  void sawOpen(Handle socket);
  void saw(Handle socket);
  void sawClose(Handle socket);
  void cleanUp();

  const std::string_view handler_;
  const std::string_view action_;
  const bool onServer_;
  const Transport transport_;
  test::TempDir folder_;
  Reactor reactor_;
  Listener<Counted> listener_;
  std::vector<Handle> dialed_;
  std::map<uint64_t, bool> closed_;  // by socket number, once it has opened
  int acted_ = 0;
};

void Trial::sawOpen(Handle socket) {
  CHECK(closed_.count(socket.number()) == 0);
  closed_[socket.number()] = false;
}

void Trial::saw(Handle socket) {
  const auto found = closed_.find(socket.number());
  CHECK((found != closed_.end() && !found->second));
}

void Trial::sawClose(Handle socket) {
  saw(socket);
  closed_[socket.number()] = true;
}

SocketHandlers<Counted> Trial::subject() {
  SocketHandlers<Counted> handlers{
      .open =
          [this](Handle socket) {
            sawOpen(socket);
            prepare(socket);
            actIf("open", socket);
            actIf("earlyOpen", socket);
          },
      .data =
          [this](Handle socket, Bytes) {
            saw(socket);
            if (handler_ == "error" && acted_ == 0) throw std::runtime_error("planned");
            actIf("data", socket);
          },
      .drain =
          [this](Handle socket) {
            saw(socket);
            actIf("drain", socket);
          },
      .end =
          [this](Handle socket) {
            saw(socket);
            actIf("end", socket);
          },
      .close =
          [this](Handle socket, const Error&) {
            sawClose(socket);
            CHECK(socket.findData() != nullptr);
            actIf("close", socket);
          },
      .error =
          [this](Handle socket, const Error&) {
            actIf("error", socket);
            actIf("rejected", socket);
          },
      .timeout =
          [this](Handle socket) {
            saw(socket);
            actIf("timeout", socket);
          },
      .connectError =
          [this](Handle socket, const Error&) {
            CHECK(closed_.count(socket.number()) == 0);
            actIf("connectError", socket);
            actIf("rejected", socket);
          },
  };
  const bool shakes = handler_ == "earlyOpen" || handler_ == "handshake" || handler_ == "failure";
  if (shakes) {
    handlers.handshake = [this](Handle socket, bool ok, const Error&) {
      saw(socket);
      actIf(ok ? "handshake" : "failure", socket);
    };
  }
  return handlers;
}

SocketHandlers<Counted> Trial::peer() {
  return {
      .open =
          [this](Handle socket) {
            sawOpen(socket);
            provoke(socket);
          },
      .data = [this](Handle socket, Bytes) { saw(socket); },
      .end = [this](Handle socket) { saw(socket); },
      .close = [this](Handle socket, const Error&) { sawClose(socket); },
  };
}

void Trial::prepare(Handle socket) {
  if (handler_ == "timeout") CHECK(socket.timeout(1ms));
  if (handler_ != "drain") return;
  const std::vector<std::byte> block = test::pattern(1 << 20, 1);
  while (socket.write(block) == static_cast<std::ptrdiff_t>(block.size())) {
  }
}

void Trial::provoke(Handle socket) {
  if (handler_ == "data" || handler_ == "error") socket.send("x");
  if (handler_ == "end") socket.end();
  if (handler_ == "close") socket.terminate();
}

void Trial::act(Handle socket) {
  if (acted_++ > 0) return;
  if (action_ == "write") static_cast<void>(socket.write("written"));
  if (action_ == "send") socket.send("sent");
  if (action_ == "end") socket.end("ended");
  if (action_ == "terminate") socket.terminate();
  if (action_ == "shutdown") socket.shutdown(Side::both);
  if (action_ == "close") socket.close();
  if (action_ == "pause") socket.pause();
  if (action_ == "reload") static_cast<void>(socket.reload(peer()));
  if (action_ == "reloadListener") CHECK(listener_.reload(peer()));
  if (action_ == "stop") listener_.stop();
  if (action_ == "stopActive") listener_.stop(true);
  if (action_ == "stopReactor") reactor_.stop(7);
  if (action_ == "connect") dial(peer());
  if (action_ == "upgradeTls") {
    const auto upgraded = socket.upgradeTls(onServer_ ? serverTls() : clientTls(true));
    CHECK((transport_ != Transport::tls || !upgraded));
  }
}

void Trial::listen() {
  ListenOptions<Counted> options;
  if (transport_ == Transport::unix) {
    options.unix = folder_.path("s");
  } else {
    options.hostname = "127.0.0.1";
    options.port = 0;
  }
  if (transport_ == Transport::tls) options.tls = serverTls();
  options.socket = onServer_ ? subject() : peer();
  options.linger = {.timeout = 20ms};
  listener_ = reactor_.listen(std::move(options)).value();
}

void Trial::dial(SocketHandlers<Counted> handlers) {
  const bool nobodyThere = handler_ == "connectError";
  ConnectOptions<Counted> options;
  if (transport_ == Transport::unix) {
    options.unix = folder_.path(nobodyThere ? "none" : "s");
  } else {
    options.hostname = "127.0.0.1";
    options.port = nobodyThere ? 0 : listener_.port();
  }
  if (transport_ == Transport::tls) {
    options.tls = clientTls(handler_ != "failure" && handler_ != "rejected");
  }
  options.socket = std::move(handlers);
  options.linger = {.timeout = 20ms};
  Result<Handle> socket = reactor_.connect(std::move(options));
  if (socket) dialed_.push_back(*socket);
}

void Trial::cleanUp() {
  listener_.stop(true);
  for (const Handle& socket : std::vector(dialed_)) socket.close();
  test::runUntil(reactor_, [&] { return reactor_.stats().sockets == 0; });
  for (const auto& [number, closed] : closed_) CHECK(closed);
}

void Trial::run() {
  listen();
  dial(onServer_ ? peer() : subject());
  test::runUntil(reactor_, [&] { return acted_ > 0; });
  for (int turns = 0; turns < 4; ++turns) reactor_.step();
  if (action_ == "stopReactor") CHECK(reactor_.run() == 7);
  if (action_ != "destroyAfter") cleanUp();
}

void runAll(std::string_view handler, bool onServer, Transport transport) {
  if (handler == "connectError" && onServer) return;
  if (handler == "error" && !kExceptions) return;
  for (const std::string_view action : kActions) {
    INFO("handler " << handler << ", action " << action);
    const size_t descriptors = test::openDescriptors();
    Trial(handler, action, onServer, transport).run();
    CHECK(Counted::alive == 0);
    CHECK(test::openDescriptors() == descriptors);
  }
}

void runAll(bool onServer, Transport transport) {
  for (const std::string_view handler : kHandlers) runAll(handler, onServer, transport);
  if (transport != Transport::tls) return;
  for (const std::string_view handler : kTlsHandlers) runAll(handler, onServer, transport);
}

}  // namespace

TEST_CASE("an accepted tcp socket survives everything that its handlers do") {
  runAll(true, Transport::tcp);
}

TEST_CASE("a dialed tcp socket survives everything that its handlers do") {
  runAll(false, Transport::tcp);
}

TEST_CASE("an accepted unix socket survives everything that its handlers do") {
  runAll(true, Transport::unix);
}

TEST_CASE("a dialed unix socket survives everything that its handlers do") {
  runAll(false, Transport::unix);
}

#if WARREN_TLS
TEST_CASE("an accepted TLS socket survives everything that its handlers do", "[tls]") {
  runAll(true, Transport::tls);
}

TEST_CASE("a dialed TLS socket survives everything that its handlers do", "[tls]") {
  runAll(false, Transport::tls);
}
#endif

}  // namespace warren
