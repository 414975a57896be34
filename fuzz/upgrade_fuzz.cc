// STARTTLS, and TLS from the start, on the simulated kernel: warren at one end, a TLS session of the
// fuzzer's at the other, and bytes injected behind the command to begin TLS (CVE-2011-0411 and its kin).
//   plaintext  nothing that came unsealed reaches `data` once the upgrade was accepted
//   sealed     `data` has a prefix of what the peer has sealed, and so has the peer of what was sent
//   ends       `end` follows the peer's close_notify alone; `handshake` is told once, and in time
//   honest     when nothing was injected and nobody interferes, all of it comes through
#include <chrono>
#include <optional>
#include <string>

#include "fuzz.h"
#include "sim/kernel.h"
#include "tls_ends.h"
#include "tls_fixed.h"
#include "warren/warren.h"

namespace warren::fuzz {
namespace {

using namespace std::chrono_literals;
using sim::Call;
using sim::Kernel;
using sim::Peer;

constexpr size_t kMostBytes = 20'000;
const Address kThere = Address::ipv4({127, 0, 0, 1}, 25);

class Play {
 public:
  explicit Play(Bytes bytes) : input_(bytes) {
    setChance(3);
    const uint8_t choices = input_.byte();
    serves_ = choices % 2 != 0;
    commanded_ = (choices & 2) != 0;
    listens_ = (choices & 4) != 0 || commanded_;  // to `handshake`
    policy_ = static_cast<Leftover>(choices / 8 % 3);
    stranger_ = choices >= 192;
    if (input_.byte() % 4 == 0) kernel_.buffers(256 + input_.byte(), 256 + input_.byte());
    kernel_.allowIdle();
    reactor_.emplace(ReactorOptions{.readBudget = 1024 + size_t{input_.byte()} * 64});
    connect();
    const Setup setup(0);
    far_.emplace(serves_ ? clientOf(setup) : serverOf(setup));
    if (!commanded_) far_->feed({}, 4096);
  }

  void run() {
    if (commanded_) command();
    while (!input_.empty()) {
      pump();
      step();
    }
    if (socket_) socket_.resume();
    meddled_ = meddled_ || paused_;
    pump();
    requireHonest();
    finish();
  }

 private:
  // --- setting up ------------------------------------------------------------------------------

  TlsOptions options() const {
    const Identities& known = identities();
    if (!serves_) return {.ca = known.authority.cert, .serverName = "localhost"};
    const test::Identity& shown = stranger_ ? known.stranger : known.localhost;
    return {.key = shown.key, .cert = shown.cert, .curves = {"X25519"}};
  }

  TlsSetting setting() const { return commanded_ ? TlsSetting() : TlsSetting(options()); }

  void connect() {
    if (serves_) {
      listener_ =
          reactor_
              ->listen<Empty>(
                  {.hostname = "127.0.0.1", .port = 25, .socket = handlers(), .tls = setting()})
              .value();
      peer_ = kernel_.connect(25);
      return;
    }
    sim::Server server = kernel_.serve(kThere);
    socket_ = reactor_
                  ->connect<Empty>(
                      {.hostname = "127.0.0.1", .port = 25, .socket = handlers(), .tls = setting()})
                  .value();
    reactor_->step();
    peer_ = server.accept().value();
    server.close();
  }

  // The command and what somebody has put behind it, in two pieces: junk, or what TLS begins with.
  void command() {
    const bool eager = serves_ && input_.byte() % 4 == 0;
    if (eager) far_->feed({}, 4096);
    injected_ = eager ? far_->take() : std::string(asText(input_.take(input_.byte())));
    meddled_ = !injected_.empty() && !eager;
    const std::string text = "STARTTLS\n" + injected_;
    const size_t first = input_.below(text.size() + 1);
    wire_ = text.substr(0, first);
    transmit();
    turn();
    wire_ += text.substr(first);
    transmit();
    if (serves_ && !eager) far_->feed({}, 4096);
    held_ = serves_;  // until the answer has come
  }

  // --- what handlers hear ----------------------------------------------------------------------

  using Handle = Socket<>;

  SocketHandlers<> handlers() {
    SocketHandlers<> all;
    all.open = [this](Handle socket) { onOpen(socket); };
    all.data = [this](Handle socket, Bytes bytes) { onData(socket, bytes); };
    all.drain = [this](Handle) { require(!gone_); };
    all.end = [this](Handle) { onEnd(); };
    all.close = [this](Handle, const Error& error) { onClose(error); };
    all.connectError = [this](Handle, const Error& error) { onClose(error); };
    all.error = [this](Handle, const Error&) { gone_ = true; };
    if (!listens_) return all;
    all.handshake = [this](Handle, bool done, const Error& error) { onHandshake(done, error); };
    return all;
  }

  void onOpen(Handle socket) {
    require(!gone_);
    socket_ = socket;
    if (!listens_) sealed_ = true;  // it is open only when TLS is agreed on
  }

  void onHandshake(bool done, const Error& error) {
    require(!gone_ && !sealed_ && !failed_);
    require(done ? socket_.tls().operator bool() : error.operator bool());
    sealed_ = done;
    failed_ = !done;
  }

  void onData(Handle socket, Bytes bytes) {
    require(!gone_ && !bytes.empty());
    if (sealed_) {
      heard_ += asText(bytes);
      return require(far_->sent.starts_with(heard_));
    }
    require(commanded_ && !accepted_);  // nothing in between
    const size_t end = asText(bytes).find('\n');
    if (end != std::string_view::npos) upgrade(socket, bytes.subspan(end + 1));
  }

  void upgrade(Handle socket, Bytes leftover) {
    if (serves_) require(socket.write("OK\n") == 3);
    const bool refused = policy_ == Leftover::fail && !leftover.empty();
    const Result<void> begun = socket.upgradeTls(options(), leftover, policy_);
    accepted_ = begun.operator bool();
    require(accepted_ == !refused);
    require(accepted_ || begun.error().is(Usage::conflict));
    // What was dropped of a true beginning is missing.
    meddled_ = meddled_ || (!leftover.empty() && policy_ != Leftover::feed);
    if (!accepted_) return socket.close();
    require(!socket.upgradeTls(options()));

    send(input_.magnitude(kMostBytes));
  }

  void onEnd() {
    require(!gone_);
    if (!sealed_) return require(commanded_ && !accepted_);
    require(far_->closed && heard_ == far_->sent);
  }

  void onClose(const Error&) {
    require(!gone_);
    gone_ = true;
  }

  // --- both sides ------------------------------------------------------------------------------

  void send(size_t size) {
    const uint64_t before = socket_.bytesWritten();
    const std::string text = textAt(said(), size);
    input_.byte() % 2 != 0 ? static_cast<void>(socket_.send(text))
                           : static_cast<void>(socket_.write(text));
    const uint64_t after = socket_.bytesWritten();
    require(after >= before && after - before <= size);
    said_ += after - before;
  }

  size_t said() const { return static_cast<size_t>(said_); }

  void use() {
    const uint8_t choice = input_.byte();
    if (gone_ || !socket_ || (commanded_ && !accepted_)) return;
    switch (choice % 10) {
      case 0:
      case 1:
      case 2:
        return send(input_.magnitude(kMostBytes));
      case 3:
      case 4:
        paused_ = true;
        return socket_.pause();
      case 5:
        paused_ = false;
        return socket_.resume();
      case 6:
        meddled_ = true;
        return choice < 128 ? socket_.terminate() : socket_.close();
      case 7:
        meddled_ = true;
        return static_cast<void>(socket_.end());
      case 8: {
        const Cork cork = socket_.cork();
        send(input_.magnitude(kMostBytes));
        return send(input_.byte());
      }
      default:
        return ask();
    }
  }

  void ask() const {
    const TlsFacts facts = socket_.tls();
    require(facts.exportKeyingMaterial(32, "label").operator bool() == sealed_);
    require(facts.cipher().empty() != sealed_ && !reactor_->dump().empty());
  }

  void farDoes() {
    const uint8_t choice = input_.byte();
    switch (choice % 8) {
      case 0:
      case 1:
      case 2:
        if (!far_->failed() && far_->sent.size() < kMostBytes) {
          far_->send(input_.magnitude(kMostBytes));
        }
        return;
      case 3:
        return far_->close();
      case 4:  // between the two
        meddled_ = true;
        wire_ += asText(input_.take(input_.byte()));
        return;
      case 5:
        meddled_ = true;
        return peer_.shutdownWrite();
      case 6:
        peer_.room(input_.magnitude(kMostBytes));
        return;
      default:
        meddled_ = meddled_ || choice > 240;
        if (choice > 240) peer_.reset();
    }
  }

  void kernelDoes() {
    const uint8_t choice = input_.byte();
    constexpr Call kCut[] = {Call::recv, Call::send, Call::sendSegments};
    constexpr int kErrors[] = {EAGAIN, ECONNRESET, EPIPE};
    switch (choice % 4) {
      case 0:
      case 1:
        return kernel_.inject(kCut[choice / 4 % 3], {.limit = 1 + input_.magnitude(4096)});
      case 2:
        meddled_ = true;
        return kernel_.fail(kCut[choice / 4 % 3], kErrors[input_.below(3)]);
      default:
        meddled_ = true;  // the handshake may be too late
        return elapse(50ms * input_.byte());
    }
  }

  void step() {
    const uint8_t choice = input_.byte();
    if (choice < 100) return use();
    if (choice < 200) return farDoes();
    kernelDoes();
  }

  // --- the wire and time -----------------------------------------------------------------------

  // What the network takes, in pieces; the rest waits.
  bool transmit() {
    const size_t piece = 1 + input_.below(wire_.size() + 1);
    const size_t took = peer_.send(std::string_view(wire_).substr(0, piece));
    wire_.erase(0, took);
    return took > 0;
  }

  void receive(std::string text) {
    if (held_) {  // "OK" comes unsealed
      answer_ += text;
      const size_t end = answer_.find('\n');
      if (end == std::string::npos) return;
      require(answer_.starts_with("OK\n"));
      held_ = false;
      text = answer_.substr(end + 1);
    }
    if (!text.empty()) far_->feed(asBytes(text), 16384);
    // A prefix of what was said, and all of it when that is what it says.
    require(textAt(0, said()).starts_with(far_->plain));
    require(!far_->ended || far_->plain.size() == said_);
  }

  void turn() { reactor_->step(); }

  void settle() {
    int turns = 0;
    do {
      turn();
      require(++turns < 20'000);
    } while (kernel_.eventPending() || reactor_->nextDeadline() == 0ms);
  }

  // Carries everything to where it belongs.
  void pump() {
    bool more = true;
    while (more) {
      settle();
      const std::string text = peer_.read(SIZE_MAX);
      if (!text.empty()) receive(text);
      if (!held_) wire_ += far_->take();
      more = !text.empty() || (!wire_.empty() && transmit());
    }
  }

  void elapse(sim::Nanoseconds span) {
    const uint64_t until = kernel_.now() + static_cast<uint64_t>(span.count());
    kernel_.after(span, [this] { kernel_.interrupt(); });
    while (kernel_.now() < until) reactor_->step(24h);
    settle();
  }

  // --- the end ---------------------------------------------------------------------------------

  void requireHonest() {
    if (meddled_ || (serves_ && stranger_)) return;
    peer_.unlimitedRoom();
    pump();
    require(sealed_ && !failed_ && far_->readies == 1 && !far_->failed());
    require(far_->closed || !gone_);
    require(far_->plain.size() == said_ && heard_ == far_->sent);
  }

  // Time decides what is still open.
  void finish() {
    elapse(11s);
    pump();
    if (accepted_) require(sealed_ || failed_ || gone_);
    if (socket_) socket_.close();
    elapse(60s);
    pump();
    peer_.close();
    listener_.stop();
    elapse(60s);
    require(reactor_->stats().sockets == 0 && !reactor_->step());
    reactor_.reset();
    require(kernel_.openDescriptors().empty());
  }

  Input input_;
  Kernel kernel_;
  std::optional<Reactor> reactor_;
  Listener<> listener_;
  Socket<> socket_;
  Peer peer_;
  std::optional<End> far_;
  Leftover policy_ = Leftover::fail;
  bool serves_ = false;     // warren is the server
  bool commanded_ = false;  // TLS begins when the peer says so
  bool listens_ = false;
  bool stranger_ = false;
  std::string injected_;
  std::string wire_;    // on its way to warren
  std::string answer_;  // to the command
  std::string heard_;
  uint64_t said_ = 0;
  bool held_ = false;      // the peer waits with TLS
  bool accepted_ = false;  // the upgrade
  bool sealed_ = false;
  bool failed_ = false;
  bool gone_ = false;
  bool paused_ = false;
  bool meddled_ = false;  // nobody can expect success
};

void run(Bytes input) { Play(input).run(); }

const Target target("upgrade", run);

}  // namespace
}  // namespace warren::fuzz
