// Cold: what a connection needs at times only, kept apart to keep idle ones small.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "base/ring_buffer.h"
#include "net/dialer.h"
#include "net/proxy_protocol.h"
#include "warren/result.h"

namespace warren::net {

// Bytes on their way to the kernel, counted in a total of all of the reactor's.
class Outbox {
 public:
  explicit Outbox(size_t& total) : total_(total) {}
  ~Outbox() { release(); }
  Outbox(const Outbox&) = delete;
  Outbox& operator=(const Outbox&) = delete;

  const base::RingBuffer& bytes() const { return bytes_; }
  size_t size() const { return bytes_.size(); }
  bool empty() const { return bytes_.empty(); }

  // False, and nothing changed, when there is no memory.
  [[nodiscard]] bool append(Bytes bytes);
  void consume(size_t count);
  // Drops what is in it, and gives its memory away.
  base::RingBuffer release();
  // Takes memory for what is to come; it has none yet.
  void lend(base::RingBuffer memory) { bytes_ = std::move(memory); }

 private:
  base::RingBuffer bytes_;
  size_t& total_;
};

// Owner: the connection, from the reactor's pool.
struct Cold {
  explicit Cold(size_t& queued) : outbox(queued), wire(queued) {}

  Outbox outbox;                          // accepted bytes that the kernel has not taken
  Outbox wire;                            // TLS: records that the kernel has not taken
  base::RingBuffer inbox;                 // TLS: what came before a pause and was not opened
  std::unique_ptr<Dialer> dialer;         // while connecting
  std::unique_ptr<ProxyParser> greeting;  // until its PROXY header is read
  std::unique_ptr<ProxyHeader> proxied;   // what it said
  Error why;                              // what broke the write side
  uint64_t lingerBytesLeft = 0;
  size_t sealed = 0;  // bytes of plaintext in `wire`, or lost when the session failed

  // What is in it, apart from the outbox, is no longer needed.
  bool idle() const;
};

// Those that nobody needs for now, and the memory of outboxes apart from them: some sockets keep their
// Cold, but no memory while they have nothing to send. Owner: the reactor.
class ColdPool {
 public:
  // Null without memory.
  Cold* take();
  void give(Cold* cold);

  // Gives an outbox without memory some, if there is any to spare.
  void equip(Outbox& outbox);
  // Drops what is in it, and leaves it without memory.
  void strip(Outbox& outbox);

  // Bytes in all outboxes.
  size_t queued() const { return queued_; }

 private:
  static constexpr size_t kMost = 64;               // of either
  static constexpr size_t kMostOutbox = 64u << 10;  // bytes of each

  size_t queued_ = 0;  // first: outboxes count in it until they die
  std::vector<std::unique_ptr<Cold>> colds_;
  std::vector<base::RingBuffer> memory_;  // of outboxes
};

}  // namespace warren::net
