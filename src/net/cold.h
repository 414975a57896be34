// Cold: what a connection needs at times only, kept apart to keep idle ones small.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/ring_buffer.h"
#include "net/dialer.h"
#include "net/proxy_protocol.h"
#include "warren/result.h"

namespace warren::net {

// Owner: the connection, from the reactor's pool.
struct Cold {
  base::RingBuffer outbox;                // accepted bytes that the kernel has not taken
  base::RingBuffer wire;                  // TLS: records that the kernel has not taken
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

  // Empty; with memory if some is spare.
  base::RingBuffer takeOutbox();
  // Drops what is in it, and leaves it without memory.
  void giveOutbox(base::RingBuffer& outbox);

 private:
  static constexpr size_t kMost = 64;               // of either
  static constexpr size_t kMostOutbox = 64u << 10;  // bytes of each

  std::vector<std::unique_ptr<Cold>> colds_;
  std::vector<base::RingBuffer> outboxes_;
};

}  // namespace warren::net
