// Transport: the way of ciphertext into BoringSSL and out of it.
#pragma once

#include <memory>

#include "base/ring_buffer.h"
#include "warren/bytes.h"

// BoringSSL's, whose headers stay in this floor's sources.
struct bio_st;

namespace warren::tls {

class Session;

// One for all sessions of a thread, since input and output belong to the call that runs: a session that
// waits has no part in it. What has to be sent (handshake, records, alerts) is appended to `output`,
// whichever direction was asked for.
//   owner   a reactor; outlives the calls of its sessions, but not the sessions
//   thread  one
class Transport {
 public:
  Transport() = default;
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;

  base::RingBuffer& output() { return output_; }

 private:
  friend class Session;
  friend struct Callbacks;  // BoringSSL's way back in

  struct Free {
    void operator()(bio_st* bio) const;
  };

  // BoringSSL's side of it; null without memory.
  bio_st* bio();

  base::RingBuffer output_;
  std::unique_ptr<bio_st, Free> bio_;  // from the first session on
  Session* running_ = nullptr;         // whose call it is
  Bytes* input_ = nullptr;             // of that call, or null
  bool failed_ = false;                // the output has found no memory in it
};

}  // namespace warren::tls
