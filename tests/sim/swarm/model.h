// The plain model that a run is held against: who has said what, and what may come of it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "far.h"
#include "secure.h"
#include "sim/kernel.h"
#include "sim/state.h"
#include "warren/warren.h"

namespace warren::swarm {

inline constexpr uint64_t kMillisecond = 1'000'000;
inline constexpr size_t kAmple = size_t{64} << 20;  // more than a program ever sends
inline constexpr uint64_t kLinger = 500;            // milliseconds
inline constexpr uint64_t kConnectTimeout = 1000;   // milliseconds

// The Data of every socket. `live` finds those that are never destroyed, or twice.
struct Tag {
  explicit Tag(int64_t* counter, int number = -1) : live(counter), user(number) { ++*live; }
  Tag(const Tag& other) : live(other.live), user(other.user) { ++*live; }
  Tag(Tag&& other) noexcept : live(other.live), user(other.user) { ++*live; }
  Tag& operator=(const Tag& other) {
    user = other.user;
    return *this;
  }
  ~Tag() { --*live; }

  int64_t* live;
  int user;  // -1 before `open`
};

// Where the n-th byte that `key` sends differs from all others nearby: lost, doubled and swapped ones
// show.
inline char byteOf(uint64_t key, uint64_t place) {
  return static_cast<char>(((key << 40) + place + 1) * 0x9e3779b97f4a7c15 >> 56);
}

struct User;

// One end of a connection.
struct End {
  uint64_t key = 0;
  uint64_t sent = 0;      // bytes that were accepted from it
  uint64_t received = 0;  // bytes it was given
  bool finished = false;  // it has said that it sends no more
  sim::KernelSocket* kernel = nullptr;
  User* user = nullptr;  // null: played by the swarm

  // It has turned to TLS: what it sends behind `plainSent`, and takes behind `plainTaken`, is sealed.
  bool sealed = false;
  uint64_t plainSent = 0;
  uint64_t plainTaken = 0;
  std::string early{};   // what it took of the other's TLS before it turned itself
  bool garbled = false;  // what it takes as the other's TLS is not that
};

// Sockets with one handler table: those of a listener, or one that was dialed.
struct Group {
  Listener<Tag> listener;
  bool listening = false;
  bool draining = false;
  bool halfOpen = false;
  bool tls = false;
  bool listens = false;  // to `handshake`
  TlsManner manner{};
  size_t highWaterMark = size_t{64} << 10;
  size_t maxQueued = kAmple;
  uint64_t lingerBytes = uint64_t{16} << 20;
  size_t maxConnections = 0;
  int table = 0;  // the current one
  std::string path;
  uint16_t port = 0;
};

// A socket of warren's, as its user knows it.
struct User : End {
  Group* group = nullptr;
  Socket<Tag> socket;
  bool sure = true;  // dialed to somebody who is there
  bool opened = false;
  bool never = false;    // no memory to begin with
  bool refused = false;  // had its connectError
  bool closed = false;
  bool ending = false;  // inside its own close or terminate
  bool terminated = false;
  bool paused = false;
  bool unpausable = false;  // was told that the connection broke
  bool muted = false;
  bool drainOwed = false;
  bool endTold = false;
  bool answering = false;  // the peer's end, still in this turn
  bool failed = false;     // closed with an error
  uint64_t unsent = 0;     // when it closed
  uint64_t closedAt = 0;
  std::optional<uint64_t> boundedAt{};  // linger limits apply since
  std::optional<uint64_t> timeoutAt{};  // never before that
  bool idle = false;
  bool timedOut = false;
  bool sentHome = false;  // by the end of the program
  bool accepted = false;
  bool agreed = false;    // TLS is
  bool unagreed = false;  // the handshake has failed, and it was told
  uint64_t sealedAt = 0;
  std::string heard{};  // the last bytes that `data` was given

  bool live() const { return !closed && !refused; }
};

struct PeerEnd : End {
  sim::Peer peer;
  bool gone = false;  // closed or reset by itself
  bool endSeen = false;

  std::unique_ptr<Far> far{};  // its TLS
  std::string wire{};          // what its TLS has said and the network has not taken
  size_t goodbye = 0;          // how much of that is up to its close_notify
  std::string last{};          // what its TLS has said last
  uint32_t grain = 0;          // how much of it goes at once; 0: all
  bool finOwed = false;        // behind that
  bool hushed = false;
  bool slow = false;                   // it was hushed, or cut its records
  bool noticed = false;                // what it has put there must be noticed
  bool meddled = false;                // not all that it sent as TLS was its TLS's
  bool cut = false;                    // it has ended without a close_notify that was delivered
  std::optional<uint64_t> forgedAt{};  // how much it had sent before its first record that is none
  std::optional<uint64_t> wholeUntil{};  // how much of what it sent went before it cut the stream
};

// Which faults a program meets.
sim::Chaos chaosOf(uint32_t kind, uint64_t seed);

}  // namespace warren::swarm
