// TLS on a kernel that does as it is told: what a real one does too rarely to be tested on.
#include <algorithm>
#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <tuple>

#include "support/certificates.h"
#include "tls/credentials.h"
#include "tls/session.h"
#include "world.h"

namespace warren::sim {
namespace {

TlsOptions serverTls() { return {.key = test::testLeaf().key, .cert = test::testLeaf().cert}; }
TlsOptions clientTls() { return {.ca = test::testAuthority().cert}; }

// The TLS of the far end.
class Far {
 public:
  static Far client(Peer peer) {
    Far far(std::move(peer));
    far.session_ =
        tls::Session::client(tls::makeCredentials(clientTls(), tls::Role::client).value(),
                             "localhost", *far.transport_)
            .value();
    return far;
  }
  static Far server(Peer peer) {
    Far far(std::move(peer));
    auto policy = std::make_shared<tls::ServerPolicy>();
    policy->fallback = tls::makeCredentials(serverTls(), tls::Role::server).value();
    far.session_ = tls::Session::server(std::move(policy), *far.transport_).value();
    return far;
  }

  // Takes what has come, and sends what that brings about.
  void turn() {
    const std::string cipher = peer.readAll();
    Bytes input = asBytes(cipher);
    for (bool more = true; more;) {
      std::byte room[4096];
      const auto got = session_->receive(input, room);
      plain += asText(Bytes(room).first(got.plain));
      more = got.state == tls::Session::State::plaintext || got.state == tls::Session::State::ready;
      if (got.state == tls::Session::State::ended) ended = true;
    }
    pass();
  }
  void send(std::string_view text) {
    REQUIRE(session_->send(asBytes(text)));
    pass();
  }
  void end() {
    session_->close();
    pass();
  }
  bool ready() const { return session_->ready(); }
  std::string error() const { return session_->error().name(); }

  Peer peer;
  std::string plain;   // all that was received
  bool ended = false;  // by close_notify

 private:
  explicit Far(Peer at) : peer(std::move(at)) {}
  void pass() {
    base::RingBuffer& output = transport_->output();
    for (const Bytes& part : output.readable()) REQUIRE(peer.send(part) == part.size());
    output.clear();
  }

  std::unique_ptr<tls::Transport> transport_ = std::make_unique<tls::Transport>();
  std::optional<tls::Session> session_;
};

ListenOptions<> secured() {
  ListenOptions<> options;
  options.tls = serverTls();
  return options;
}

// A TLS listener with one accepted socket, and the client behind it.
struct Secured : Served {
  Far far;

  explicit Secured(ListenOptions<> options = secured())
      : Served(std::move(options)), far(Far::client(peer)) {}

  void shakeHands() {
    for (int turn = 0; turn < 4; ++turn) {
      far.turn();
      settle();
    }
    REQUIRE(far.ready());
    REQUIRE(log.text() == "open");
    socket = Socket<>(log.socket);
    log.lines.clear();
  }
};

const std::string kMuch(300'000, 'x');  // more than is read in one go
const std::string kForged = std::string("\x17\x03\x03\x00\x20", 5) + std::string(32, 'x');

// --- alerts ------------------------------------------------------------------------------------------

TEST_CASE("an alert is not destroyed by input that nobody has read", "[tls]") {
  Secured world;
  world.shakeHands();
  world.peer.send(kForged + kMuch);
  world.settle();
  REQUIRE(world.log.text() == "close ERR_SSL_DECRYPTION_FAILED_OR_BAD_RECORD_MAC/read");
  REQUIRE_FALSE(world.peer.wasReset());
  world.far.turn();
  REQUIRE(world.far.error() == "ERR_SSL_SSLV3_ALERT_BAD_RECORD_MAC");
  REQUIRE(world.peer.ended());
  REQUIRE(world.peer.send(kMuch) > 0);  // it is still speaking
  world.settle();
  REQUIRE_FALSE(world.peer.wasReset());
  world.peer.close();
  world.settle();
  REQUIRE(world.reactor.stats().sockets == 0);
}

TEST_CASE("an alert about the handshake reaches a client that has sent more already", "[tls]") {
  Secured world;
  // A handshake message that is none, and then a stream of them.
  world.peer.send(std::string("\x16\x03\x01\x00\x04\x63\x00\x00\x00", 9) + kMuch);
  world.settle();
  REQUIRE(world.log.lines.size() == 1);
  REQUIRE(world.log.lines[0].starts_with("error "));
  REQUIRE_FALSE(world.peer.wasReset());
  REQUIRE(world.peer.read(1) == "\x15");
  world.peer.close();
  world.settle();
  REQUIRE(world.reactor.stats().sockets == 0);
}

TEST_CASE("a client that refuses a server says so, however much the server says", "[tls]") {
  World world;
  Log log;
  Server server = world.kernel.serve(kHere);
  ConnectOptions<> options{.hostname = "127.0.0.1", .port = 80, .socket = keeping(log)};
  options.tls = TlsOptions{.ca = test::testAuthority().cert, .serverName = "elsewhere.test"};
  const Socket<> socket = world.reactor.connect(std::move(options)).value();
  REQUIRE(socket.send("a secret"));
  world.settle();
  Far far = Far::server(server.accept().value());
  far.turn();
  far.peer.send(kMuch);
  world.settle();
  REQUIRE(log.text() == "connectError ERR_TLS_CERT_ALTNAME_INVALID/handshake");
  REQUIRE(socket.unsentBytes() == 8);
  REQUIRE_FALSE(far.peer.wasReset());
  far.turn();
  REQUIRE(far.error() == "ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE");
  far.peer.close();
  world.settle();
  REQUIRE(world.reactor.stats().sockets == 0);
}

TEST_CASE("who takes no notice of an alert is cut", "[tls]") {
  Secured world;
  world.shakeHands();
  world.peer.send(kForged);
  world.settle();
  REQUIRE(world.reactor.stats().sockets == 1);
  SECTION("by the linger deadline when it is silent") { world.elapse(60s); }
  SECTION("by the linger cap when it goes on and on") {
    for (int round = 0; round < 1000 && world.reactor.stats().sockets > 0; ++round) {
      world.peer.send(kMuch);
      world.settle();
    }
  }
  REQUIRE(world.reactor.stats().sockets == 0);
  REQUIRE(world.log.lines.size() == 1);
}

TEST_CASE("close inside handshake(false) drops what was sent before, and the program goes on",
          "[tls]") {
  World world;
  ListenOptions<> options = secured();
  options.hostname = "127.0.0.1";
  options.port = 80;
  Log log;
  options.socket = keeping(log);
  options.socket.open = [](Socket<> socket) { REQUIRE(socket.send("too early")); };
  options.socket.handshake = [&log](Socket<> socket, bool ok, const Error& error) {
    log.note(socket, ok ? "handshake" : error.name());
    socket.close();
  };
  const auto listener = world.reactor.listen(std::move(options));
  REQUIRE(listener);
  Peer peer = world.kernel.connect(80);
  world.settle();
  SECTION("the client says nothing") { world.elapse(11s); }
  SECTION("the client goes") { peer.shutdownWrite(); }
  world.settle();
  REQUIRE(log.lines.size() == 2);
  REQUIRE(log.lines[1] == "close clean");
  REQUIRE(log.socket.unsentBytes() == 9);
  peer.close();
  world.settle();
  REQUIRE(world.reactor.stats().sockets == 0);
}

TEST_CASE("end inside open leaves the time for the handshake as it is", "[tls]") {
  World world;
  ListenOptions<> options = secured();
  options.hostname = "127.0.0.1";
  options.port = 80;
  Log log;
  options.socket = keeping(log);
  options.linger = {1s, 1000};
  options.socket.open = [](Socket<> socket) { REQUIRE(socket.end("bye") == 3); };
  options.socket.handshake = [&log](Socket<> socket, bool, const Error& error) {
    log.note(socket, error.name());
  };
  const auto listener = world.reactor.listen(std::move(options));
  REQUIRE(listener);
  Far far = Far::client(world.kernel.connect(80));
  far.turn();
  world.elapse(9s);  // and the client says no more
  REQUIRE(log.text() == "");
  world.elapse(2s);
  REQUIRE(log.text() == "ETIMEDOUT, close clean");
}

TEST_CASE("a server that says nothing in the handshake is given up when connectTimeout is up",
          "[tls]") {
  for (const auto& [connects, shakes, limit] : {std::tuple{3s, 10s, 3s}, std::tuple{10s, 3s, 3s},
                                                std::tuple{3s, 0s, 3s}, std::tuple{0s, 3s, 3s}}) {
    World world;
    Log log;
    world.kernel.serve(kHere);
    ConnectOptions<> options{.hostname = "127.0.0.1", .port = 80, .socket = keeping(log)};
    TlsOptions tls = clientTls();
    tls.handshakeTimeout = shakes;
    options.tls = tls;
    options.connectTimeout = connects;
    REQUIRE(world.reactor.connect(std::move(options)));
    const Nanoseconds took = world.timeUntil(log, "connectError ETIMEDOUT/handshake");
    CHECK(took >= limit);
    CHECK(took <= limit + 1ms);
  }
}

TEST_CASE("connectTimeout ends with open, when somebody hears of the handshake", "[tls]") {
  World world;
  Log log;
  world.kernel.serve(kHere);
  ConnectOptions<> options{.hostname = "127.0.0.1", .port = 80, .socket = keeping(log)};
  options.socket.handshake = [&log](Socket<> socket, bool, const Error& error) {
    log.note(socket, error.name());
  };
  options.tls = clientTls();
  options.connectTimeout = 1s;
  REQUIRE(world.reactor.connect(std::move(options)));
  const Nanoseconds took = world.timeUntil(log, "close clean");
  CHECK(took >= 10s);
  CHECK(took <= 10s + 1ms);
  CHECK(log.text() == "open, ETIMEDOUT, close clean");
}

TEST_CASE("an upgrade that is put off until the peer has ended fails at once, and no end is told",
          "[tls]") {
  Log log;
  Reactor* reactor = nullptr;
  ListenOptions<> options;
  options.socket = keeping(log);
  options.socket.handshake = [&log](Socket<> socket, bool, const Error& error) {
    log.note(socket, describe(error));
  };
  options.socket.data = [&](Socket<> socket, Bytes) {
    reactor->defer([socket] { REQUIRE(socket.upgradeTls(serverTls())); });
  };
  Served world(std::move(options));
  reactor = &world.reactor;
  world.peer.send("STARTTLS\n");
  world.peer.shutdownWrite();
  world.settle();
  REQUIRE(log.text() == "open, ECONNRESET/handshake, close clean");
}

TEST_CASE("a socket that acceptError closes as its handshake is done hears nothing behind close",
          "[tls]") {
  World world;
  Log log;
  Listener<> listener;
  ListenOptions<> options = secured();
  options.hostname = "127.0.0.1";
  options.port = 80;
  TlsOptions tls = serverTls();
  tls.maxHandshakes = 1;
  options.tls = tls;
  options.socket = keeping(log);
  options.socket.handshake = [&log](Socket<> socket, bool, const Error&) {
    log.note(socket, "handshake");
  };
  options.acceptError = [&](const Error&) { listener.stop(true); };
  listener = world.reactor.listen(std::move(options)).value();
  Far far = Far::client(world.kernel.connect(80));
  far.turn();
  world.settle();
  world.kernel.fail(Call::add, ENOMEM);  // the listener, when it listens again
  far.turn();
  world.settle();
  REQUIRE(log.text() == "open, close clean");
}

// --- many at once --------------------------------------------------------------------------------------

// A TLS listener with few places for handshakes, each client of which may fail.
ListenOptions<> crowded(Log& log, size_t maxHandshakes, Duration handshakeTimeout) {
  ListenOptions<> options;
  options.hostname = "127.0.0.1";
  options.port = 80;
  TlsOptions tls = serverTls();
  tls.maxHandshakes = maxHandshakes;
  tls.handshakeTimeout = handshakeTimeout;
  options.tls = tls;
  options.socket = keeping(log);
  options.socket.error = [&log](Socket<> socket, const Error& error) {
    log.note(socket, describe(error));
  };
  return options;
}

TEST_CASE("silent clients fill maxHandshakes for two tenths of handshakeTimeout, not for all of it",
          "[tls]") {
  World world;
  Log log;
  const auto listener = world.reactor.listen(crowded(log, 3, 10s)).value();
  Peer begun = world.kernel.connect(80);
  begun.send("\x16");  // has said something, and it is still its turn
  const std::array silent = {world.kernel.connect(80), world.kernel.connect(80)};
  Far far = Far::client(world.kernel.connect(80));
  far.turn();
  world.settle();
  REQUIRE(listener.stats().accepted == 1 + silent.size());
  for (const auto pause : {1001ms, 998ms}) {
    world.kernel.advance(pause);
    world.settle();
    REQUIRE(log.text() == "");
  }
  world.kernel.advance(3ms);
  world.settle();
  REQUIRE(log.text() == "ETIMEDOUT/handshake, ETIMEDOUT/handshake, ETIMEDOUT/handshake");
  for (int turn = 0; turn < 4; ++turn) {
    far.turn();
    world.settle();
  }
  REQUIRE(far.ready());
}

TEST_CASE("silent clients that leave one place free are cut as well", "[tls]") {
  World world;
  Log log;
  REQUIRE(world.reactor.listen(crowded(log, 3, 10s)));
  const std::array silent = {world.kernel.connect(80), world.kernel.connect(80)};
  world.settle();
  for (int client = 0; client < 12; ++client) {
    Far far = Far::client(world.kernel.connect(80));
    for (int turn = 0; turn < 4; ++turn) {
      far.turn();
      world.settle();
    }
    REQUIRE(far.ready());
    far.peer.reset();
    world.kernel.advance(250ms);
    world.settle();
  }
  REQUIRE(world.reactor.stats().handshakes == 12);
  REQUIRE(world.reactor.stats().handshakeFailures == silent.size());
}

TEST_CASE("behind proxies a connection takes the place of a handshake before its header has come",
          "[tls]") {
  World world;
  Log log;
  ListenOptions<> options = crowded(log, 2, 10s);
  options.proxyProtocol = ProxyProtocol{.trusted = {"127.0.0.1"}};
  size_t refused = 0;
  options.acceptError = [&refused](const Error&) { ++refused; };
  const auto listener = world.reactor.listen(std::move(options)).value();
  std::vector<Peer> peers;
  for (int client = 0; client < 5; ++client) peers.push_back(world.kernel.connect(80));
  world.settle();
  REQUIRE(listener.stats().accepted == 2);
  peers[0].send("PROXY UNKNOWN\r\n");
  world.settle();
  REQUIRE(listener.stats().accepted == 2);
  peers[1].send("something else");
  world.settle();
  REQUIRE(refused == 1);
  REQUIRE(listener.stats().accepted == 3);
  peers[0].close();
  world.settle();
  REQUIRE(listener.stats().accepted == 4);
}

TEST_CASE("a client that was answered a moment ago keeps nobody waiting", "[tls]") {
  World world;
  Log log;
  REQUIRE(world.reactor.listen(crowded(log, 1, 10s)));
  Far far = Far::client(world.kernel.connect(80));
  world.kernel.connect(80);
  world.settle();  // full
  for (int tenth = 0; tenth < 2; ++tenth) {
    far.turn();
    world.kernel.advance(1001ms);  // its bytes and the time to look come in the same turn
    world.settle();
    REQUIRE(log.text() == (far.ready() ? "open" : ""));
  }
  far.turn();
  world.settle();
  REQUIRE(log.text() == "open");
}

TEST_CASE("without descriptors the end of a handshake turns no further client away", "[tls]") {
  World world;
  Log log;
  REQUIRE(world.reactor.listen(crowded(log, 100, 10s)));
  world.settle();
  world.kernel.descriptorLimit(world.kernel.openDescriptors().size() + 1);
  Far far = Far::client(world.kernel.connect(80));
  const std::array waiting = {world.kernel.connect(80), world.kernel.connect(80)};
  world.settle();
  REQUIRE(waiting[0].ended());
  for (int turn = 0; turn < 4; ++turn) {
    far.turn();
    world.settle();
  }
  REQUIRE(far.ready());
  REQUIRE_FALSE(waiting[1].ended());
}

TEST_CASE("a drain leaves a socket alone whose handshake has just been agreed on", "[tls]") {
  Secured world;
  bool done = false;
  REQUIRE(world.reactor.drain(10s, [&done](const Drained&) { done = true; }));
  world.kernel.advance(90ms);
  world.shakeHands();
  world.kernel.advance(10ms);
  world.settle();
  REQUIRE(world.socket.readyState() == ReadyState::open);
  world.far.send("question");
  world.settle();
  REQUIRE(world.log.input == "question");
  for (int tick = 0; tick < 2; ++tick) {
    world.kernel.advance(100ms);
    world.settle();
  }
  REQUIRE(world.socket.readyState() == ReadyState::ended);
  world.far.turn();
  world.far.end();
  world.peer.close();
  world.settle();
  REQUIRE(done);
}

TEST_CASE("a socket that ends in open waits for its handshake as long as handshakeTimeout says",
          "[tls]") {
  World world;
  Log log;
  ListenOptions<> options = crowded(log, 0, 0s);
  options.linger.timeout = 300ms;
  options.socket.open = [](Socket<> socket) { socket.end("bye"); };
  options.socket.handshake = [&log](Socket<> socket, bool fine, const Error&) {
    log.note(socket, fine ? "handshake" : "no handshake");
  };
  REQUIRE(world.reactor.listen(std::move(options)));
  Far far = Far::client(world.kernel.connect(80));
  world.settle();
  world.kernel.advance(1h);
  world.settle();
  REQUIRE(log.text() == "");
  for (int turn = 0; turn < 4; ++turn) {
    far.turn();
    world.settle();
  }
  REQUIRE(far.plain == "bye");
  REQUIRE(log.text() == "handshake");
}

TEST_CASE("handshakes that data begins on sockets with a timeout keep to the budget of the turn",
          "[tls]") {
  ReactorOptions reactorOptions;
  reactorOptions.handshakeBudget = 1;
  World world(reactorOptions);
  Log log;
  ListenOptions<> options{.hostname = "127.0.0.1", .port = 80, .socket = keeping(log)};
  options.socket.open = [](Socket<> socket) { REQUIRE(socket.idleTimeout(1h)); };
  options.socket.data = [](Socket<> socket, Bytes bytes) {
    REQUIRE(socket.upgradeTls(serverTls(), bytes.subspan(9), Leftover::feed));
  };
  REQUIRE(world.reactor.listen(std::move(options)));
  std::vector<Far> clients;
  for (int client = 0; client < 8; ++client)
    clients.push_back(Far::client(world.kernel.connect(80)));
  world.settle();
  for (Far& far : clients) {
    far.peer.send("STARTTLS\n");
    far.turn();
  }
  const auto answered = [&clients] {
    return std::count_if(clients.begin(), clients.end(),
                         [](const Far& far) { return far.peer.readable() > 0; });
  };
  for (ptrdiff_t turn = 0; answered() < std::ssize(clients); ++turn) {
    REQUIRE(answered() <= turn);
    world.reactor.step();
  }
}

TEST_CASE("a listener that is full of silent clients goes through them by two tenths", "[tls]") {
  World world;
  size_t cut = 0;
  Log log;
  ListenOptions<> options = crowded(log, 1, 10s);
  options.socket.error = [&cut](Socket<>, const Error&) { ++cut; };
  const auto listener = world.reactor.listen(std::move(options)).value();
  std::vector<Peer> silent;
  for (int client = 0; client < 4; ++client) silent.push_back(world.kernel.connect(80));
  world.settle();
  for (size_t round = 1; round <= 3; ++round) {
    for (int tenth = 0; tenth < 2; ++tenth) {
      REQUIRE(cut == round - 1);
      world.kernel.advance(1001ms);
      world.settle();
    }
    REQUIRE(cut == round);
    REQUIRE(listener.stats().accepted == round + 1);
  }
}

TEST_CASE("a listener that stops while it is full of silent clients leaves no timer behind",
          "[tls]") {
  World world;
  Log log;
  const auto listenAndStop = [&] {
    world.reactor.listen(crowded(log, 1, 10s)).value().stop();
    world.settle();
  };
  for (int each = 0; each < 64; ++each) listenAndStop();  // as many as are remembered
  const size_t slots = world.reactor.stats().slots;
  auto listener = world.reactor.listen(crowded(log, 1, 10s)).value();
  for (int client = 0; client < 2; ++client) world.kernel.connect(80);
  world.settle();
  REQUIRE(listener.stats().accepted == 1);
  listener.stop(true);
  world.settle();
  REQUIRE(world.reactor.stats().slots == slots);
  for (int each = 0; each < 65; ++each) listenAndStop();
  world.elapse(2s);  // the full listener would have looked again
  REQUIRE(log.text() == "");
  REQUIRE(world.reactor.stats().slots == slots);
}

TEST_CASE("a reader that opens a large window holds no turn for all that is queued for it",
          "[tls]") {
  Secured world;
  world.shakeHands();
  world.kernel.buffers(16 << 20, 16 << 20);
  world.peer.room(0);
  const std::string text = pattern(4 << 20);
  world.socket.send(text);
  world.settle();
  world.peer.unlimitedRoom();
  const size_t budget = ReactorOptions().readBudget;
  const size_t before = world.socket.unsentBytes();
  world.reactor.step();
  const size_t sent = before - world.socket.unsentBytes();
  REQUIRE(sent > 0);
  REQUIRE(sent <= 3 * budget);  // its event and its place on the ready list
  while (world.far.plain.size() < text.size()) {
    world.reactor.step();
    world.far.turn();
  }
  REQUIRE(world.far.plain == text);
  world.settle();
  REQUIRE(world.log.text() == "drain");
}

// --- short writes --------------------------------------------------------------------------------------

TEST_CASE("records that the kernel takes byte by byte arrive whole, and count as unsent till then",
          "[tls]") {
  Secured world;
  world.shakeHands();
  const std::string text = pattern(4000);
  world.peer.room(0);
  REQUIRE(world.socket.write(text) == static_cast<std::ptrdiff_t>(text.size()));
  REQUIRE(world.socket.unsentBytes() == text.size());
  REQUIRE(world.socket.write("more") == 0);
  while (world.far.plain.size() < text.size()) {
    world.peer.room(1);
    world.settle();
    world.far.turn();
    if (world.far.plain.size() < text.size()) REQUIRE(world.socket.unsentBytes() == text.size());
  }
  REQUIRE(world.far.plain == text);
  REQUIRE(world.socket.unsentBytes() == 0);
  world.peer.unlimitedRoom();
  world.settle();
  REQUIRE(world.log.text() == "drain");
}

TEST_CASE("a TLS socket that is cut tells what it had accepted and not sent", "[tls]") {
  Secured world;
  world.shakeHands();
  world.peer.room(1000);
  const std::string text = pattern(2 << 20);
  REQUIRE(world.socket.send(text) == false);  // queued, and above the high-water mark
  SECTION("terminated") {
    world.socket.terminate();
    REQUIRE(world.log.text() == "close clean");
  }
  SECTION("reset by its peer") {
    world.peer.reset();
    world.settle();
    REQUIRE(world.log.text().starts_with("close ECONNRESET"));
  }
  REQUIRE(world.socket.unsentBytes() == text.size());
}

TEST_CASE("close delivers 2 MiB of records to a slow reader before its close_notify", "[tls]") {
  Secured world;
  world.shakeHands();
  world.peer.receiveSize(5000);
  const std::string text = pattern(2 << 20);
  static_cast<void>(world.socket.send(text));
  world.socket.close();
  REQUIRE(world.log.text() == "close clean");
  while (!world.far.ended) {
    world.far.turn();
    world.settle();
  }
  REQUIRE(world.far.plain == text);
}

TEST_CASE("close loses nothing to a TLS peer that ends without close_notify and reads on",
          "[tls]") {
  Secured world;
  world.shakeHands();
  world.peer.receiveSize(5000);
  const std::string text = pattern(1 << 20);
  static_cast<void>(world.socket.send(text));
  world.socket.close();
  world.peer.shutdownWrite();
  for (int round = 0; round < 2000 && !world.far.ended; ++round) {
    world.far.turn();
    world.settle();
  }
  REQUIRE(world.far.plain == text);
  REQUIRE(world.far.ended);
}

// --- ends ----------------------------------------------------------------------------------------------

TEST_CASE("a peer that does not answer our close_notify is cut", "[tls]") {
  Secured world;
  world.shakeHands();
  REQUIRE(world.socket.end("bye") == 3);
  world.settle();
  world.far.turn();
  REQUIRE(world.far.plain == "bye");
  REQUIRE(world.far.ended);
  SECTION("by the linger deadline when it is silent") {
    world.elapse(60s);
    REQUIRE(world.log.text() == "close ETIMEDOUT/linger");
  }
  SECTION("by the linger cap when it goes on and on") {
    for (int round = 0; round < 1000 && world.log.count("close tooMuch/linger") == 0; ++round) {
      world.far.send(std::string(100'000, 'x'));
      world.settle();
    }
    REQUIRE(world.log.lines.back() == "close tooMuch/linger");
  }
}

TEST_CASE("a half-open socket that closes after the peer's end is no truncation to the peer",
          "[tls]") {
  ListenOptions<> options = secured();
  options.allowHalfOpen = true;
  Secured world(std::move(options));
  world.shakeHands();
  world.far.end();
  world.settle();
  REQUIRE(world.log.text() == "end");
  SECTION("with a last word") { REQUIRE(world.socket.send("bye")); }
  SECTION("without") {}
  SECTION("and a full kernel") {
    world.peer.room(0);
    REQUIRE(world.socket.send("bye"));
  }
  world.socket.close();
  world.settle();
  world.peer.unlimitedRoom();
  world.settle();
  world.far.turn();
  REQUIRE(world.far.ended);
  REQUIRE(world.peer.ended());
}

TEST_CASE("a reset that a TLS socket meets as it writes is told as a reset, not as a truncation",
          "[tls]") {
  Secured world;
  world.shakeHands();
  world.far.send("before");
  world.peer.reset();
  REQUIRE(world.socket.write("too late") == -1);
  world.settle();
  REQUIRE(world.log.input == "before");
  REQUIRE(world.log.text() == "data, close ECONNRESET/write");
}

TEST_CASE("idleTimeout is pushed back by each piece of a record that takes long to come", "[tls]") {
  Secured world;
  world.shakeHands();
  world.socket.idleTimeout(100ms).value();
  for (const char byte : kForged.substr(0, 20)) {
    world.elapse(90ms);
    world.peer.send(std::string(1, byte));
    world.settle();
  }
  REQUIRE(world.log.count("timeout") == 0);
  REQUIRE(world.timeUntil(world.log, "timeout") >= 100ms);
}

TEST_CASE("half a record and a FIN are a truncation", "[tls]") {
  Secured world;
  world.shakeHands();
  world.far.send("whole");
  world.peer.send(kForged.substr(0, 20));
  world.peer.shutdownWrite();
  world.settle();
  REQUIRE(world.log.input == "whole");
  REQUIRE(world.log.text() == "data, close TRUNCATED/read");
}

TEST_CASE("a write that meets a forged record is refused, and close tells of the record", "[tls]") {
  const std::function<bool(Socket<>)> writes[] = {
      [](Socket<> socket) { return socket.write("answer") != -1; },
      [](Socket<> socket) { return socket.send(kMuch); },
      [](Socket<> socket) { return socket.end(kMuch) != -1; },
  };
  for (const auto& write : writes) {
    ListenOptions<> options = secured();
    Log log;
    std::optional<bool> taken;
    options.socket = keeping(log);
    options.socket.data = [&](Socket<> socket, Bytes) { taken = write(socket); };
    Secured world(std::move(options));
    for (int turn = 0; turn < 4; ++turn) {
      world.far.turn();
      world.settle();
    }
    world.far.send("question");  // both are there in one read
    world.peer.send(kForged);
    world.settle();
    REQUIRE(taken == false);
    REQUIRE(log.text() == "open, close ERR_SSL_DECRYPTION_FAILED_OR_BAD_RECORD_MAC/read");
    REQUIRE(Socket<>(log.socket).bytesWritten() == 0);
  }
}

// --- pauses --------------------------------------------------------------------------------------------

TEST_CASE("a paused socket shakes hands, and holds back what follows", "[tls]") {
  ListenOptions<> options = secured();
  Log log;
  options.socket = keeping(log);
  options.socket.open = [&log](Socket<> socket) {
    log.note(socket, "open");
    socket.pause();
  };
  options.socket.handshake = [&log](Socket<> socket, bool ok, const Error&) {
    log.note(socket, ok ? "handshake" : "failure");
  };
  Secured world(std::move(options));
  for (int turn = 0; turn < 4; ++turn) {
    world.far.turn();
    world.settle();
  }
  REQUIRE(log.text() == "open, handshake");
  world.far.send("held back");
  world.settle();
  REQUIRE(log.text() == "open, handshake");
  Socket<>(log.socket).resume();
  world.settle();
  REQUIRE(log.input == "held back");
}

TEST_CASE("nothing of a record is left behind by a pause, whatever is over", "[tls]") {
  for (const size_t over : {size_t{1}, size_t{2}, size_t{255}, size_t{1023}, size_t{1024}}) {
    ListenOptions<> options = secured();
    Log log;
    options.socket = keeping(log);
    options.socket.data = [&log](Socket<> socket, Bytes bytes) {
      log.input += asText(bytes);
      log.note(socket, "data");
      socket.pause();
    };
    Secured world(std::move(options));
    for (int turn = 0; turn < 4; ++turn) {
      world.far.turn();
      world.settle();
    }
    const std::string text = pattern((64 << 10) + over);
    world.far.send(text);
    for (int round = 0; round < 20 && log.input.size() < text.size(); ++round) {
      Socket<>(log.socket).resume();
      world.settle();
    }
    REQUIRE(log.input == text);
  }
}

// --- upgrades ------------------------------------------------------------------------------------------

TEST_CASE("bytes that were refused before an upgrade are followed by a drain after it", "[tls]") {
  Served world;
  world.peer.room(0);
  REQUIRE(world.socket.write("no room") == 0);
  REQUIRE(world.socket.upgradeTls(serverTls()));
  world.peer.unlimitedRoom();
  world.settle();
  REQUIRE(world.log.text() == "");  // not before the handshake
  Far far = Far::client(world.peer);
  for (int turn = 0; turn < 4; ++turn) {
    far.turn();
    world.settle();
  }
  REQUIRE(far.ready());
  REQUIRE(world.log.text() == "drain");
}

TEST_CASE("an upgrade is refused while plaintext is queued, corked or not", "[tls]") {
  Served world;
  world.peer.room(0);
  SECTION("behind a full kernel") { static_cast<void>(world.socket.send("queued")); }
  SECTION("under a cork") {
    const Cork cork = world.socket.cork();
    REQUIRE(world.socket.write("queued") == 6);
    REQUIRE(world.socket.upgradeTls(serverTls()).error().is(Usage::conflict));
  }
  REQUIRE(world.socket.upgradeTls(serverTls()).error().is(Usage::conflict));
  world.peer.unlimitedRoom();
  world.settle();
  REQUIRE(world.peer.readAll() == "queued");
  REQUIRE(world.socket.upgradeTls(serverTls()));
}

TEST_CASE("a socket that is paused when it upgrades shakes hands", "[tls]") {
  Served world;
  world.socket.pause();
  REQUIRE(world.socket.upgradeTls(serverTls()));
  Far far = Far::client(world.peer);
  for (int turn = 0; turn < 4; ++turn) {
    far.turn();
    world.settle();
  }
  REQUIRE(far.ready());
  far.send("held back");
  world.settle();
  REQUIRE(world.log.text() == "");
  world.socket.resume();
  world.settle();
  REQUIRE(world.log.input == "held back");
}

TEST_CASE("a peer that ends and reads nothing is cut, when our close_notify is all it holds up",
          "[tls]") {
  ListenOptions<> options = secured();
  options.linger.timeout = 300ms;
  Secured world(std::move(options));
  world.shakeHands();
  world.peer.room(0);
  world.far.end();
  world.peer.shutdownWrite();
  const Nanoseconds took = world.timeUntil(world.log, "close ETIMEDOUT/linger");
  REQUIRE(took >= 300ms);
  REQUIRE(took <= 301ms);
}

TEST_CASE("records of a byte each use up a socket's share of the turn sooner than long ones",
          "[tls]") {
  const auto readsOfATurn = [](size_t record) {
    Secured world;
    world.shakeHands();
    for (size_t sent = 0; sent < 200'000; sent += record + 22) {
      world.far.send(std::string(record, 'x'));
    }
    const uint64_t before = world.reactor.stats().reads;
    world.reactor.step();
    return world.reactor.stats().reads - before;
  };
  CHECK(readsOfATurn(1) == 2);  // for the event, and for what it left
  CHECK(readsOfATurn(16'000) > 3);
}

}  // namespace
}  // namespace warren::sim
