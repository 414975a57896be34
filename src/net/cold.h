// Cold: what a connection needs at times only, kept apart to keep idle ones small.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/ring_buffer.h"
#include "net/dialer.h"
#include "net/proxy_protocol.h"
#include "net/secure.h"
#include "warren/result.h"

namespace warren::net {

// Owner: the connection, from the reactor's pool.
struct Cold {
  base::RingBuffer outbox;                // accepted bytes that the kernel has not taken
  std::unique_ptr<Dialer> dialer;         // while connecting
  std::unique_ptr<ProxyParser> greeting;  // until its PROXY header is read
  std::unique_ptr<ProxyHeader> proxied;   // what it said
  std::unique_ptr<Secure> secure;         // of a TLS socket
  Error why;                              // what broke the write side
  uint64_t lingerBytesLeft = 0;
};

// Those that nobody needs for now, and the memory of outboxes apart from them: a TLS socket keeps its
// Cold, but no memory while it has nothing to send. Owner: the reactor.
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
