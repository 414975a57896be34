// A kernel in memory, for tests: simulated sockets, unix sockets among them, and a clock that stands
// still until somebody waits. Link warren::sim (libwarren_sim.a) in place of warren and every Reactor
// runs on it: no real sockets, no sleeps, and the same run every time.
//
//   warren::sim::Kernel kernel;         // before the reactor, and outliving it
//   kernel.chaos({.seed = 7, .shortReads = 500, .resets = 5});
//   warren::Reactor reactor;
//   ...                                 // listen, as always
//   warren::sim::Peer peer = kernel.connect(80);
//   peer.send("hello");
//   while (reactor.step()) { ... }      // or run(): the clock jumps from event to event
//
// As Linux has them: bounded buffers at both ends, listen queues, FIN, RST and half-close, edges that are
// told once and merge. What is not simulated: a network that loses or reorders what TCP would repair,
// urgent data, and wall clocks, which warren never asks. Interrupted calls (EINTR) are repeated below
// this floor; here a signal ends a wait.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "warren/address.h"
#include "warren/bytes.h"

namespace warren::os {
struct Event;
}

namespace warren::sim {

using Nanoseconds = std::chrono::nanoseconds;

struct KernelSocket;
class Kernel;

// What is counted, and where faults can be put.
enum class Call : uint8_t {
  recv,
  peek,
  send,
  sendSegments,
  shutdown,
  close,
  reset,
  socket,
  adopt,
  bind,
  listen,
  accept,
  connect,
  spare,
  add,      // Poller: EPOLL_CTL_ADD
  retoken,  // Poller: EPOLL_CTL_MOD
  remove,   // Poller: EPOLL_CTL_DEL
  wait,     // an error here is a signal: the wait returns early with nothing
  end,      // not a call: their number
};

// What the next call answers in place of the truth: an errno, or at most `limit` bytes of it.
struct Fault {
  int error = 0;
  size_t limit = SIZE_MAX;
};

constexpr int kAnyFd = -1;

// The far end of a connection, played by the test. A small handle; copies play the same end. It does
// not close by itself.
class Peer {
 public:
  Peer() = default;  // nobody

  // Gives bytes to the network; returns how many were taken: 0 when all buffers are full, or when the
  // connection is broken.
  size_t send(Bytes bytes);
  size_t send(std::string_view text) { return send(asBytes(text)); }
  // Takes at most `most` of what has arrived. Who does not read slows the sender down.
  std::string read(size_t most);
  std::string readAll() { return read(SIZE_MAX); }

  void shutdownWrite();
  void reset();
  // As close(2): a FIN, or a reset when something was left unread.
  void close();

  size_t readable() const;
  // Everything was read, and a FIN came behind it.
  bool ended() const;
  // A reset has come.
  bool wasReset() const;
  // Nobody has closed or broken the connection at either end.
  bool connected() const;

  // From here on the kernel takes `bytes` more from the other end and then is full, however much the
  // peer reads. A full sender that has room again is told so by an edge.
  void room(size_t bytes);
  void unlimitedRoom();
  // How much this end keeps unread before it holds the sender back.
  void receiveSize(size_t bytes);

  // The other end's descriptor, -1 before it was accepted and after it was closed; and what it is
  // watched with.
  int fd() const;
  uint64_t token() const;
  const Address& address() const;

  // For the simulation's own files.
  KernelSocket& inside() const { return *socket_; }

 private:
  friend class Kernel;
  friend class Server;
  Peer(Kernel& kernel, KernelSocket& socket) : kernel_(&kernel), socket_(&socket) {}

  Kernel* kernel_ = nullptr;
  KernelSocket* socket_ = nullptr;
};

// A listener played by the test, for sockets that warren dials.
class Server {
 public:
  // The oldest connection that was not taken yet.
  std::optional<Peer> accept();
  // Refuses from now on; resets what was not accepted.
  void close();

 private:
  friend class Kernel;
  Server(Kernel& kernel, KernelSocket& socket) : kernel_(&kernel), socket_(&socket) {}

  Kernel* kernel_;
  KernelSocket* socket_;
};

// What happens to connects to an address, other than that a listener there answers at once or, where
// there is none, that they are refused.
struct Plan {
  bool blackHole = false;  // no answer, ever
  bool atOnce = false;     // connect(2) itself tells
  bool self = false;       // TCP's simultaneous open: the socket is connected to itself
  int error = 0;           // the outcome
  Nanoseconds delay{};     // until it is known
};

// What goes wrong by chance: how often, in thousandths of the calls, waits or edges it can happen to. The
// same seed and the same calls meet the same faults.
struct Chaos {
  uint64_t seed = 0;

  unsigned shortReads = 0;  // cut anywhere from the first byte on
  unsigned shortWrites = 0;
  unsigned refusals = 0;        // EAGAIN for a read or write; the edge comes right after
  unsigned resets = 0;          // the network breaks the connection: ECONNRESET, or EPIPE
  unsigned noBuffers = 0;       // ENOBUFS or ENOMEM for a write
  unsigned noDescriptors = 0;   // EMFILE, ENFILE, ENOBUFS, ENOMEM: accept, socket, watching one
  unsigned aborts = 0;          // ECONNABORTED: the connection dies in the listener's queue
  unsigned slowConnects = 0;    // EINPROGRESS for up to a tenth of a second
  unsigned failedConnects = 0;  // refused, unreachable, timed out; at once or after EINPROGRESS
  unsigned noMemory = 0;        // for slots, timers and queued bytes

  unsigned interrupts = 0;  // a wait returns early with nothing
  unsigned delays = 0;      // an edge is told up to 20 ms late
  unsigned shuffles = 0;    // the events of a wait come in any order
  unsigned duplicates = 0;  // an event is told twice
  unsigned spurious = 0;    // an event that finds nothing to do
  unsigned strays = 0;      // an event for a descriptor that was closed
};

// How readiness is told.
enum class Readiness : uint8_t {
  epoll,   // one edge for a descriptor, with all that is true of it
  kqueue,  // two filters for a descriptor, reading and writing, each with its own edges and ends
};

// The kernel of everything that is made while it lives. It makes itself the current one of its thread;
// the one before is back when it dies. Reactors must die before their kernel.
class Kernel {
 public:
  Kernel();
  ~Kernel();
  Kernel(const Kernel&) = delete;
  Kernel& operator=(const Kernel&) = delete;

  // The current one of this thread; there must be one.
  static Kernel& current();
  // The same, or nullptr.
  static Kernel* ifAny();

  // --- time --------------------------------------------------------------------------------------

  // Monotonic. Only waits with nothing ready, and `advance`, move it.
  uint64_t now() const;
  void advance(Nanoseconds span);
  // Calls `action` in the first wait that reaches the time `delay` from here.
  void after(Nanoseconds delay, std::function<void()> action);
  // Makes the wait under way return early, as a signal does. For actions of `after`.
  void interrupt();
  // A wait without end that nothing can end throws std::logic_error, "the reactor would sleep for
  // ever"; with this on it returns empty.
  void allowIdle(bool on = true);

  // --- limits and faults -------------------------------------------------------------------------

  // The buffers of sockets made from here on.
  void buffers(size_t send, size_t receive);
  // As Peer::room, for every descriptor that is connected now or gets connected later.
  void sendRoom(size_t bytes);
  // Descriptors that can be open at once.
  void descriptorLimit(size_t count);
  // The next such call, on this descriptor or on any, fails or is cut short. Faults wait in line.
  void inject(Call call, Fault fault, int fd = kAnyFd);
  void fail(Call call, int error, int fd = kAnyFd) { inject(call, {.error = error}, fd); }
  // What happens by chance from here on; `{}` ends it.
  void chaos(const Chaos& chaos);
  // This process is a child now, as after fork(2).
  void forked();

  // --- events ------------------------------------------------------------------------------------

  // As the system's own poller does, unless said otherwise before the first reactor is made: here, or with
  // WARREN_SIM_READINESS=epoll or kqueue in the environment.
  void readiness(Readiness how);
  // The next wait tells this event as well, true or not.
  void tell(const os::Event& event);
  // The next wait tells everything twice.
  void duplicateEvents();
  // Each of the next two waits tells that every watched stream is writable.
  void writableTwice();
  // Sees, and may change, what each wait is about to tell.
  void onWait(std::function<void(std::vector<os::Event>&)> edit);
  // A wait would tell something now.
  bool eventPending() const;

  // --- facts -------------------------------------------------------------------------------------

  uint64_t calls(Call call) const;
  // Every descriptor that is open, those of pollers and spares among them, smallest first.
  std::vector<int> openDescriptors() const;
  // How long the last wait was asked to sleep, in milliseconds; -1 for ever.
  int64_t lastTimeout() const;
  bool fileExists(const std::string& path) const;

  // --- the other side ----------------------------------------------------------------------------

  // Connects to a listener of warren's; throws std::logic_error when nobody listens.
  Peer connect(int port);
  Peer connect(const Address& address);
  Peer connectUnix(const std::string& path);

  Server serve(const Address& address);
  Server serveUnix(const std::string& path);
  void plan(const Address& address, Plan plan);
  // Connects to `address` whose outcome is open.
  size_t attempts(const Address& address) const;
  // All connects begun so far, in order.
  const std::vector<Address>& dialed() const;

  // A connected descriptor that no poller knows, and its peer.
  std::pair<int, Peer> connectedPair(Family family);
  // A descriptor that is no socket.
  int plainFile();

  // Everything behind it, for the simulation's own files.
  struct State;
  State& state() { return *state_; }

 private:
  std::unique_ptr<State> state_;
  Kernel* previous_;
};

}  // namespace warren::sim
