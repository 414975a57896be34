// Clients on bare epoll: a peer sends its own part of the pattern, and what comes back must be the same.
#pragma once

#include <netinet/in.h>
#include <unistd.h>

#include <utility>

#include "stress/stress.h"
#include "warren/config.h"

#if WARREN_TLS
#include <openssl/ssl.h>
#endif

namespace stress {

struct Target {
  uint16_t port = 0;
  bool tls = false;
};

// One connection, plain or TLS, as send(2) and recv(2) on a descriptor that does not block.
class Wire {
 public:
  Wire() = default;
  // Begins to connect to loopback, each time from another of its addresses: so there are ports
  // enough, whatever still waits in TIME_WAIT.
  explicit Wire(const Target& target);
  ~Wire() { close(); }
  Wire(Wire&& other) noexcept { *this = std::move(other); }
  Wire& operator=(Wire&& other) noexcept;

  int fd() const { return fd_; }
  ssize_t send(const std::byte* bytes, size_t size);
  ssize_t recv(std::byte* into, size_t size);
  void shutdownWrite();
  void reset();
  void close();

 private:
  int fd_ = -1;
#if WARREN_TLS
  ssize_t answer(int result) const;
  bssl::UniquePtr<SSL> ssl_;
#endif
};

class Peer;

class Loop {
 public:
  Loop();
  ~Loop() { ::close(epoll_); }
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  void watch(int fd, Peer* peer);
  // Fails when nothing has happened for a minute.
  void turn(int milliseconds = 100);
  template <class Condition>
  void until(Condition condition) {
    while (!condition()) turn();
  }

 private:
  int epoll_;
  double lastEvent_;
};

class Peer {
 public:
  explicit Peer(Loop& loop) : loop_(&loop) {}
  virtual ~Peer() = default;
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  void dial(const Target& target);
  void say(uint64_t bytes);  // sends as many more
  void finish();             // FIN, behind all that was said
  void reset() { wire_.reset(); }
  void close() { wire_.close(); }

  // Reads up to `limit` bytes and compares them. One that is not `reading` reads only when asked.
  void read(uint64_t limit);
  void setReading(bool reading) { reading_ = reading; }
  void setReceiveBuffer(int size);  // once it is dialed
  // Segments sent again because none had come for too long.
  uint64_t retransmitted() const;

  bool open() const { return wire_.fd() >= 0; }
  bool ended() const { return ended_; }   // has read the server's FIN
  int broken() const { return broken_; }  // the errno that ended it, or 0
  bool answered() const { return received_ == goal_; }
  uint64_t goal() const { return goal_; }
  uint64_t sent() const { return sent_; }
  uint64_t received() const { return received_; }

 protected:
  // Something may have changed.
  virtual void step() {}

 private:
  friend class Loop;
  void onEvent();
  void pump();

  Loop* loop_;
  Wire wire_;
  uint64_t offset_ = 0;  // of its stream in the pattern
  uint64_t sent_ = 0;
  uint64_t received_ = 0;
  uint64_t goal_ = 0;
  int broken_ = 0;
  bool connecting_ = false;
  bool ended_ = false;
  bool finishing_ = false;  // FIN is to follow
  bool finished_ = false;
  bool reading_ = true;
};

// Bytes that all peers of this process have compared.
uint64_t bytesCompared();

}  // namespace stress
