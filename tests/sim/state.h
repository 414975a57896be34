// What the simulated kernel is made of. For the files of this directory only.
//
// Model: a byte goes from the sender's outbox to the receiver's inbox as soon as there is room; nothing
// is lost or late in between. What waits is told by edges, merged as epoll merges them. Sockets live as
// long as the kernel, so that a late byte or reset always finds its end.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kernel.h"
#include "os/platform.h"

namespace warren::sim {

struct Queue;

// Which of a descriptor's edges: of its read filter, its write filter. epoll has but one.
enum Filter : uint8_t { kRead = 1, kWrite = 2, kBoth = 3 };

// Bytes in order.
class ByteQueue {
 public:
  size_t size() const { return bytes_.size() - head_; }
  void append(Bytes bytes) { bytes_.insert(bytes_.end(), bytes.begin(), bytes.end()); }
  // Copies the first bytes; returns how many there were for it.
  size_t peek(std::span<std::byte> into) const;
  // Moves them out.
  size_t take(std::span<std::byte> into);
  // Moves at most `most` of the first bytes behind those of another.
  size_t moveTo(ByteQueue& other, size_t most);
  void clear() { *this = ByteQueue(); }

 private:
  void drop(size_t count);

  std::vector<std::byte> bytes_;
  size_t head_ = 0;
};

// One descriptor that a poller watches.
struct Entry {
  Queue* queue;
  KernelSocket* socket;
  int fd;
  uint64_t token;
  os::Watch watch;
  uint8_t pending = 0;  // filters with an edge; in the queue's line if there are any
};

// One poller. Entries wait in line from their first edge until a wait looks at them.
struct Queue {
  Kernel::State& kernel;
  int fd = -1;
  int waker = -1;
  std::atomic<bool> woken = false;  // the only thing other threads touch
  std::map<int, std::unique_ptr<Entry>> entries{};
  std::deque<Entry*> line{};
  std::vector<os::Event> told{};
};

enum class Phase : uint8_t {
  fresh,
  listening,
  connecting,
  connected,  // until both ends are done with it
  broken,     // by a reset or a failed connect
};

struct KernelSocket {
  Family family = Family::none;
  Phase phase = Phase::fresh;
  int fd = -1;             // -1: played by the test, not accepted yet, or closed
  Entry* entry = nullptr;  // as it is watched
  Address local{};
  Address remote{};
  std::string path{};  // of a bound unix socket

  // streams
  KernelSocket* other = nullptr;
  ByteQueue inbox{};
  ByteQueue outbox{};
  size_t sendSize = 0;
  size_t receiveSize = 0;
  std::optional<size_t> room{};  // set by the test: bytes it takes still
  int error = 0;                 // SO_ERROR
  bool writeShut = false;
  bool readShut = false;
  bool finSent = false;
  bool finReceived = false;
  bool resetReceived = false;
  bool wantsSpace = false;  // somebody was told that it is full (SOCK_NOSPACE)
  bool orphan = false;      // closed, with or without something left to deliver

  // listeners
  std::deque<KernelSocket*> accepted{};  // connected, waiting for accept(2)
  std::deque<KernelSocket*> waiting{};   // the far ends of those for whom the queue has no room
  size_t backlog = 0;
  bool reusePort = false;
  bool ipv6Only = false;
};

enum class Kind : uint8_t { socket, poller, waker, file };

struct Descriptor {
  Kind kind = Kind::file;
  KernelSocket* socket = nullptr;
};

struct PlannedFault {
  int fd;
  Fault fault;
};

// The environment's choice, or the system's.
Readiness usualReadiness();

struct Kernel::State {
  // An hour and a bit, so that milliseconds begin somewhere inside of one.
  uint64_t now = 3'600'000'000'000 + 300'000;
  std::multimap<uint64_t, std::function<void()>> schedule;
  bool idleAllowed = false;
  bool interrupted = false;
  int64_t lastTimeout = 0;
  uint32_t forks = 0;

  std::map<int, Descriptor> descriptors;
  size_t descriptorLimit = 1u << 20;
  std::deque<KernelSocket> sockets;  // never shrinks
  std::vector<KernelSocket*> listeners;
  struct File {
    KernelSocket* socket;
    uint64_t inode;
  };
  std::map<std::string, File> files;  // bound unix paths
  uint64_t nextInode = 1;
  uint16_t nextPort = 40000;
  size_t nextListener = 0;  // shares connections among those of one port

  size_t sendSize = size_t{128} << 10;
  size_t receiveSize = size_t{128} << 10;
  std::optional<size_t> room;

  std::array<uint64_t, static_cast<size_t>(Call::end)> calls{};
  std::array<std::deque<PlannedFault>, static_cast<size_t>(Call::end)> faults;
  std::vector<std::pair<Address, Plan>> plans;
  std::vector<Address> dialed;

  std::vector<Queue*> queues;
  std::vector<os::Event> extraEvents;
  int duplicateWaits = 0;
  int writableWaits = 0;
  std::function<void(std::vector<os::Event>&)> editEvents;

  Readiness readiness = usualReadiness();
  std::optional<Chaos> chaos;
  uint64_t random = 0;
  std::vector<uint64_t> closedTokens;  // the last ones that were watched

  // Counts a call and gives the fault that waits for it, or one by chance. Every call of the seam passes
  // here first.
  Fault enter(Call call, int fd = kAnyFd);
  Fault byChance(Call call, int fd);
  // True so often in a thousand; never without chaos.
  bool chance(unsigned Chaos::*often);
  uint64_t below(uint64_t limit);
  Plan connectByChance();
  void disturb(Queue& queue);

  // The lowest free number, or -EMFILE.
  os::sys::Answer open(Kind kind, KernelSocket* socket = nullptr);
  void forget(int fd);
  // The socket behind a descriptor; nullptr when there is none.
  KernelSocket* find(int fd);

  KernelSocket& make(Family family);
  uint16_t takePort() { return nextPort++; }
  KernelSocket* listenerAt(const Address& address);
  const Plan* planFor(const Address& address) const;
  void runDue();
};

// --- sockets.cc ----------------------------------------------------------------------------------

os::sys::Answer receive(KernelSocket& socket, std::span<std::byte> into);
os::sys::Answer transmit(KernelSocket& socket, std::span<const Bytes> segments, size_t limit);
void shutWrite(KernelSocket& socket);
void shutRead(KernelSocket& socket);
// close(2) of the last descriptor; `abort` with SO_LINGER 0.
void closeSocket(Kernel::State& kernel, KernelSocket& socket, bool abort);
// A reset arrives at `socket`.
void breakSocket(KernelSocket& socket, int error);
void grantRoom(KernelSocket& socket, std::optional<size_t> room);
// Moves what there is room for.
void deliver(KernelSocket& from);

// Connects `from` to a listener: -EAGAIN when its queue is full, else 0.
os::sys::Answer join(Kernel::State& kernel, KernelSocket& from, KernelSocket& listener);
os::sys::Answer startConnect(Kernel::State& kernel, KernelSocket& socket, const Address& address);
os::sys::Answer startConnectUnix(Kernel::State& kernel, KernelSocket& socket,
                                 const std::string& path);
// The oldest connection of a queue; nullptr when it is empty.
KernelSocket* takeAccepted(Kernel::State& kernel, KernelSocket& listener);

// What poll(2) would say.
struct Ready {
  bool in = false;
  bool out = false;
  bool hangUp = false;      // RDHUP, HUP or ERR
  bool everything = false;  // HUP or ERR: counts as both directions
  bool any() const { return in || out || hangUp; }
};
Ready readinessOf(KernelSocket& socket);

// Something about `socket` has changed: whoever watches it looks again.
void edge(KernelSocket& socket, Filter filter = kBoth);
// What `filters` of a watched descriptor would tell; nullopt when nothing.
uint32_t readyBits(bool readable, bool writable, bool ended, bool broken);
std::optional<os::Event> eventOf(const Entry& entry, uint8_t filters);
void watch(Queue& queue, KernelSocket& socket, int fd, uint64_t token, os::Watch how);
void unwatch(Entry& entry);

}  // namespace warren::sim
