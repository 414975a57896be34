// Sockets on the simulated kernel of tests/sim. The bytes script all sides: peers, kernel and user, from
// inside of handlers too. What handlers hear and peers read is compared with what was put in:
//   handlers  one `open` or `connectError`; nothing before, nothing behind `close`; one `end`; no
//             `drain` that is not owed
//   bytes     in order, each once, both ways; whoever reads a FIN has read everything before it
//   quiet     when nothing is pending any more, everything that could be delivered was
//   the end   no socket, no descriptor and no reason to go on is left
#include <cerrno>
#include <chrono>
#include <deque>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "connection_track.h"
#include "fuzz.h"
#include "sim/kernel.h"
#include "warren/warren.h"

namespace warren::fuzz {
namespace {

using namespace std::chrono_literals;
using sim::Call;
using sim::Kernel;
using sim::Peer;

constexpr size_t kMostSockets = 6;
constexpr size_t kMostBytes = 80'000;
constexpr int kPort = 80;
constexpr int kProxyPort = 81;
constexpr uint16_t kProxied = 1000;  // the port a PROXY header gives to the first socket
constexpr uint16_t kDialed = 2000;   // the port the first socket is dialed to

class Play {
 public:
  explicit Play(Bytes bytes) : input_(bytes) {
    const uint8_t choices = input_.byte();
    halfOpen_ = choices % 2 != 0;
    if (choices & 2) kernel_.buffers(64 + input_.magnitude(4096), 64 + input_.magnitude(4096));
    highWaterMark_ = choices & 4 ? 1 + input_.magnitude(4096) : size_t{64} << 10;
    maxQueued_ = highWaterMark_ + (choices & 8 ? input_.magnitude(20'000) : size_t{1} << 20);
    linger_ = {.timeout = 5s, .bytes = choices & 16 ? input_.magnitude(4096) : 1u << 20};
    kernel_.allowIdle();
    reactor_.emplace(ReactorOptions{.readBudget = choices & 32 ? 1 + input_.magnitude(4096)
                                                               : size_t{256} << 10});
    listener_ = reactor_->listen(listening(kPort, choices & 64 ? 2 : 0)).value();
    ListenOptions<Mark> proxied = listening(kProxyPort, 0);
    proxied.proxyProtocol = ProxyProtocol{.trusted = {"127.0.0.1"}};
    proxyListener_ = reactor_->listen(std::move(proxied)).value();
  }

  void run() {
    while (!input_.empty()) step();
    openUp();
    finish();
  }

 private:
  // --- setting up ------------------------------------------------------------------------------

  ListenOptions<Mark> listening(int port, size_t most) {
    return {.hostname = "127.0.0.1",
            .port = port,
            .socket = handlers(),
            .allowHalfOpen = halfOpen_,
            .maxConnections = most,
            .highWaterMark = highWaterMark_,
            .maxQueued = maxQueued_,
            .linger = linger_};
  }

  ConnectOptions<Mark> connecting(Track& track) {
    return {.socket = handlers(),
            .data = {&track},
            .allowHalfOpen = halfOpen_,
            .highWaterMark = highWaterMark_,
            .maxQueued = maxQueued_,
            .linger = linger_};
  }

  void dial(Track& track, ConnectOptions<Mark> options) {
    track.socket = reactor_->connect(std::move(options)).value();
  }

  void addSocket() {
    if (tracks_.size() == kMostSockets) return;
    Track& track = tracks_.emplace_back();
    track.number = tracks_.size() - 1;
    switch (input_.byte() % 6) {
      case 0:
      case 1:
        return arrive(track, listener_);
      case 2:
        arrive(track, proxyListener_);
        return greet(track);
      case 3:
        return adopt(track);
      case 4:
        return dialUnix(track);
      default:
        return dialTcp(track);
    }
  }

  void arrive(Track& track, const Listener<Mark>& listener) {
    if (!listener.listening()) return;
    track.peer = kernel_.connect(listener.port());
    track.port = track.peer.address().port();
    track.peerThere = true;
  }

  // The header comes in two pieces, and may be none.
  void greet(Track& track) {
    if (!track.peerThere) return;
    track.port = static_cast<uint16_t>(kProxied + track.number);
    track.greetingFalse = input_.byte() % 4 == 0;
    std::string header =
        track.greetingFalse ? "PROXY TCP4 nonsense" : "PROXY TCP4 9.9.9.9 8.8.8.8 ";
    header += std::to_string(kProxied + track.number) + " 80\r\n";
    const size_t first = input_.below(header.size() + 1);
    track.peer.send(header.substr(0, first));
    if (input_.byte() % 2 != 0) turn();
    track.peer.send(header.substr(first));
  }

  void adopt(Track& track) {
    track.local = input_.byte() % 2 != 0;
    const auto [fd, peer] = kernel_.connectedPair(track.local ? Family::unix : Family::ipv4);
    if (fd < 0) return;  // no descriptors
    track.peer = peer;
    track.peerThere = true;
    ConnectOptions<Mark> options = connecting(track);
    options.fd = fd;
    dial(track, std::move(options));
  }

  void dialUnix(Track& track) {
    track.local = true;
    const std::string path = "/socket" + std::to_string(track.number);
    if (input_.byte() % 4 != 0) track.server = kernel_.serveUnix(path);
    ConnectOptions<Mark> options = connecting(track);
    options.unix = path;
    dial(track, std::move(options));
  }

  void dialTcp(Track& track) {
    const auto port = static_cast<uint16_t>(kDialed + track.number);
    const Address there = Address::ipv4({127, 0, 0, 1}, port);
    const uint8_t how = input_.byte();
    if (how % 4 != 0) track.server = kernel_.serve(there);
    kernel_.plan(there, {.blackHole = (how & 4) != 0,
                         .atOnce = (how & 8) != 0,
                         .error = (how & 16) != 0 ? EHOSTUNREACH : 0,
                         .delay = (how & 32) != 0 ? 1ms * input_.byte() : 0ms});
    ConnectOptions<Mark> options = connecting(track);
    options.hostname = "127.0.0.1";
    options.port = port;
    options.connectTimeout = (how & 64) != 0 ? 50ms : 30s;
    dial(track, std::move(options));
  }

  // --- what handlers hear ----------------------------------------------------------------------

  using Handle = Socket<Mark>;

  static Track& of(const Handle& socket) {
    Mark* mark = socket.findData();
    require(mark != nullptr && mark->track != nullptr && mark->track->socket == socket);
    return *mark->track;
  }

  SocketHandlers<Mark> handlers() {
    return {
        .open = [this](Handle socket) { onOpen(socket); },
        .data = [this](Handle socket, Bytes bytes) { act(of(socket).onData(bytes, troubled_)); },
        .drain = [this](Handle socket) { act(of(socket).onDrain()); },
        .end = [this](Handle socket) { act(of(socket).onEnd()); },
        .close = [this](Handle socket, const Error&) { act(of(socket).onClose()); },
        .error = [this](Handle, const Error& error) { onError(error); },
        .timeout = [this](Handle socket) { act(of(socket).onTimeout()); },
        .connectError = [this](Handle socket, const Error&) { act(of(socket).onRefused()); }};
  }

  // Whose an accepted socket is, its peer's port tells, or the header's.
  Track* accepted(const Handle& socket) {
    const Address from = socket.remoteAddress();
    for (Track& each : tracks_) {
      if (each.port == from.port()) return &each;
    }
    return nullptr;
  }

  void onOpen(Handle socket) {
    Mark& mark = socket.data();
    if (mark.track == nullptr) {
      mark.track = accepted(socket);
      require(mark.track != nullptr);
      mark.track->socket = socket;
    }
    Track& track = *mark.track;
    require(track.socket == socket);
    track.onOpen();
    if (track.server && !track.peerThere) {
      if (const auto peer = track.server->accept()) {
        track.peer = *peer;
        track.peerThere = true;
      }
    }
    act(track);
  }

  void onError(const Error& error) {
    require(error.origin() == Origin::handler && throws_ > 0);
    --throws_;
  }

  // What a handler does: nothing more often than not.
  void act(Track& track) {
    const uint8_t choice = input_.byte();
    if (choice < 128) return;
    if (choice < 200) return use(track);
    if (choice < 240) return useAny();
    if (choice < 248) return reactor_->defer([this] { useAny(); });
    if (choice != 255 || !WARREN_LIBRARY_EXCEPTIONS) return peerDoes();
    ++throws_;
    throw std::runtime_error("by the script");
  }

  // --- the user --------------------------------------------------------------------------------

  void useAny() {
    if (!tracks_.empty()) use(tracks_[input_.below(tracks_.size())]);
  }

  void use(Track& track) {
    const Handle socket = track.socket;
    const uint8_t choice = input_.byte();
    if (socket == Handle()) return;  // it was not accepted yet
    switch (choice % 20) {
      case 0:
      case 1:
        return track.write(input_.magnitude(kMostBytes));
      case 2:
      case 3:
        return track.send(input_.magnitude(kMostBytes));
      case 4:
        return track.writeSink(input_.magnitude(kMostBytes));
      case 5:
        return track.end(input_.magnitude(kMostBytes));
      case 6:
        socket.close();
        return require(track.over() || !track.opened);
      case 7:
        socket.terminate();
        return require(track.over() || !track.opened);
      case 8:
        track.muted = true;
        return socket.shutdown(input_.byte() % 2 != 0 ? Side::read : Side::both);
      case 9:
        return socket.shutdown(Side::write);
      case 10:
        socket.pause();
        track.paused = true;
        return;
      case 11:
        track.paused = false;
        return socket.resume();
      case 12:
        return static_cast<void>(socket.timeout(1ms * input_.byte()));
      case 13:
        return static_cast<void>(socket.idleTimeout(1ms * input_.byte()));
      case 14:
        corks_.push_back(std::make_unique<Cork>(socket.cork()));
        return;
      case 15:
        static_cast<void>(std::exchange(corks_, {}));  // `close` may come inside
        return;
      case 16:
        return socket.flush();
      case 17:
        return static_cast<void>(socket.reload(handlers()));
      case 18:
        return input_.byte() % 2 != 0 ? socket.ref() : socket.unref();
      default:
        return ask(socket);
    }
  }

  void ask(const Handle& socket) const {
    const bool there = socket.readyState() != ReadyState::closed;
    require(socket.operator bool() == there && socket.findData() == socket.findData());
    static_cast<void>(socket.setNoDelay());
    static_cast<void>(socket.setKeepAlive(true, 7s));
    static_cast<void>(socket.deadPeer(9s));
    require(!socket.deadPeer(-1s) && !socket.timeout(-1s) && !socket.tls());
    require(socket.remoteAddress().text().size() < 60 && socket.localAddress().text().size() < 60);
    require(!reactor_->dump().empty());
  }

  // --- peers and kernel ------------------------------------------------------------------------

  void peerDoes() {
    if (tracks_.empty()) return;
    Track& track = tracks_[input_.below(tracks_.size())];
    const uint8_t choice = input_.byte();
    if (!track.peerThere) return;
    switch (choice % 10) {
      case 0:
      case 1:
      case 2:
        return track.peerSends(input_.magnitude(kMostBytes));
      case 3:
        return track.peerReads(input_.magnitude(kMostBytes));
      case 4:
        track.peerFin = true;
        return track.peer.shutdownWrite();
      case 5:
        return peerGoes(track, true);
      case 6:
        return peerGoes(track, false);
      case 7:
        return track.peer.room(input_.magnitude(kMostBytes));
      case 8:
        return track.peer.unlimitedRoom();
      default:
        return track.peer.receiveSize(1 + input_.magnitude(kMostBytes));
    }
  }

  void peerGoes(Track& track, bool reset) {
    troubled_ = true;
    track.peerThere = false;
    reset ? track.peer.reset() : track.peer.close();
  }

  void injectFault() {
    constexpr Call kCut[] = {Call::recv, Call::send, Call::sendSegments, Call::peek};
    constexpr Call kFailed[] = {Call::recv,   Call::send,    Call::sendSegments, Call::peek,
                                Call::accept, Call::socket,  Call::connect,      Call::spare,
                                Call::add,    Call::shutdown};
    constexpr int kErrors[] = {EAGAIN, ECONNRESET, EPIPE, ENOBUFS, ETIMEDOUT, EMFILE, ECONNABORTED};
    const uint8_t choice = input_.byte();
    if (choice % 4 < 2) {
      return kernel_.inject(kCut[choice / 4 % 4], {.limit = 1 + input_.magnitude(4096)});
    }
    const Call call = kFailed[input_.below(std::size(kFailed))];
    const int error = kErrors[input_.below(std::size(kErrors))];
    troubled_ = true;
    kernel_.fail(call, error);
  }

  // An event that says more than is so, or is for nobody.
  void tellFalsehood() {
    if (tracks_.empty()) return;
    const Track& track = tracks_[input_.below(tracks_.size())];
    const uint8_t choice = input_.byte();
    if (!track.peerThere || track.peer.fd() < 0 || !track.opened || track.over()) return;
    const uint64_t stale = (choice & 4) != 0 ? uint64_t{1} << 63 : 0;
    kernel_.tell({.ready = ((choice & 1) != 0 ? os::kReadable : 0u) |
                           ((choice & 2) != 0 ? os::kWritable : 0u),
                  .token = track.peer.token() ^ stale});
  }

  void kernelDoes() {
    switch (input_.byte() % 8) {
      case 0:
      case 1:
        return injectFault();
      case 2:
        return kernel_.duplicateEvents();
      case 3:
        return kernel_.writableTwice();
      case 4:
        return tellFalsehood();
      case 5:
        return kernel_.advance(1ms * input_.byte());
      case 6:
        return elapse(10ms * input_.byte());
      default:
        troubled_ = true;
        return kernel_.descriptorLimit(4 + input_.below(16));
    }
  }

  void listenersDo() {
    const Listener<Mark>& listener = input_.byte() % 2 != 0 ? listener_ : proxyListener_;
    switch (input_.byte() % 8) {
      case 0:
        troubled_ = true;
        return listener.stop(true);
      case 1:
        troubled_ = true;
        return listener.stop(false);
      case 2:
        troubled_ = true;
        return static_cast<void>(listener.drain(1ms * input_.byte()));
      default:
        return static_cast<void>(listener.reload(handlers()));
    }
  }

  void step() {
    const uint8_t choice = input_.byte();
    if (choice < 40) return addSocket();
    if (choice < 110) return useAny();
    if (choice < 180) return peerDoes();
    if (choice < 200) return kernelDoes();
    if (choice < 205) return listenersDo();
    turn();
  }

  // --- time ------------------------------------------------------------------------------------

  // One turn. Dialed peers are taken as soon as they are there.
  void turn() {
    reactor_->step();
    for (Track& each : tracks_) {
      if (!each.server || each.peerThere || each.over()) continue;
      if (const auto peer = each.server->accept()) {
        each.peer = *peer;
        each.peerThere = true;
      }
    }
  }

  // Turns until nothing more happens, which it must.
  void settle() {
    int turns = 0;
    do {
      turn();
      require(++turns < 20'000);
    } while (kernel_.eventPending() || reactor_->nextDeadline() == 0ms);
  }

  void elapse(sim::Nanoseconds span) {
    const uint64_t until = kernel_.now() + static_cast<uint64_t>(span.count());
    kernel_.after(span, [this] { kernel_.interrupt(); });
    for (int turns = 0; kernel_.now() < until; ++turns) {
      reactor_->step(24h);
      require(turns < 20'000);
    }
    settle();
  }

  // --- the end ---------------------------------------------------------------------------------

  // Everybody takes what comes. What could be delivered is then, and who was refused has heard of
  // the room there is.
  void openUp() {
    corks_.clear();
    kernel_.descriptorLimit(1000);
    for (Track& each : tracks_) {
      each.paused = false;
      each.socket.resume();
      if (!each.peerThere) continue;
      each.peer.receiveSize(size_t{1} << 20);
      each.peer.unlimitedRoom();
    }
    deliverAll();
  }

  void deliverAll() {
    do {
      settle();
    } while (peersRead());
    if (troubled_) return;
    for (const Track& each : tracks_) each.requireQuiet();
  }

  // Whether there was anything.
  bool peersRead() {
    bool more = false;
    for (Track& each : tracks_) {
      const uint64_t before = each.peerRead;
      if (each.peerThere) each.peerReads(SIZE_MAX);
      more = more || each.peerRead > before;
    }
    return more;
  }

  // Everybody ends and goes; time does the rest.
  void finish() {
    for (Track& each : tracks_) {
      if (!each.peerThere) continue;
      each.peerFin = true;
      each.peer.shutdownWrite();
    }
    deliverAll();
    // Those that waited for the others to go are accepted meanwhile.
    for (size_t rounds = 0; rounds <= tracks_.size(); ++rounds) {
      for (Track& each : tracks_) each.socket.close();
      elapse(60s);
      peersRead();
    }
    for (const Track& each : tracks_) require(!each.opened || each.closed);
    listener_.stop();
    proxyListener_.stop();
    settle();
    require(reactor_->stats().sockets == 0 && throws_ == 0);
    require(!reactor_->step());
    reactor_.reset();
    tracks_.clear();
    require(kernel_.openDescriptors().empty());
  }

  Input input_;
  Kernel kernel_;
  std::optional<Reactor> reactor_;
  Listener<Mark> listener_;
  Listener<Mark> proxyListener_;
  std::deque<Track> tracks_;
  std::vector<std::unique_ptr<Cork>> corks_;
  bool halfOpen_ = false;
  size_t highWaterMark_ = 0;
  size_t maxQueued_ = 0;
  Linger linger_;
  bool troubled_ = false;  // the kernel has failed, or somebody was cut
  int throws_ = 0;
};

void run(Bytes input) { Play(input).run(); }

const Target target("connection", run);

}  // namespace
}  // namespace warren::fuzz
