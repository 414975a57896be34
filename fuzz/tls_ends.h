// Both ends of a TLS connection in memory, with the fuzzer on the wire between them.
//
// One end is under test: what reaches it may be changed and is cut in pieces; what it says goes to the
// other end as it is. The promises are those of TLS, so they hold whatever is done to the bytes: what
// comes out is a prefix of what the other end has put in, an end that is told is the true one, bytes
// that were left alone come through whole, and how they are cut changes nothing at all.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fuzz.h"
#include "tls/credentials.h"
#include "tls/session.h"

namespace warren::fuzz {

// Text in which no place looks like another: what both ends say.
std::string textAt(size_t position, size_t size);

// One session, its output and what came of it.
struct End {
  // At a place of its own: a session keeps its address.
  std::unique_ptr<tls::Transport> transport = std::make_unique<tls::Transport>();
  std::optional<tls::Session> session;
  uint64_t chance = 0;  // where its row of random numbers stands
  std::string plain;    // received
  std::string sent;
  bool ended = false;
  bool closed = false;  // it has said close_notify
  int readies = 0;

  bool failed() const { return static_cast<bool>(session->error()); }
  base::RingBuffer& output() { return transport->output(); }
  // Gives it bytes, or nothing to begin with, and calls until it wants more. `room` is how much it may
  // write at once.
  void feed(Bytes cipher, size_t room);
  // Everything it wants to send, taken out.
  std::string take();
  // What these promise before the handshake, after the end and after a failure is checked as well.
  void send(size_t size);
  void close();
  void askFacts();
};

// How the two are set up; each bit of `choices` adds something.
struct Setup {
  explicit Setup(uint32_t choices);

  std::shared_ptr<const tls::ServerPolicy> server;
  std::shared_ptr<const tls::Credentials> client;
  std::string host;
  std::string session;     // to resume
  bool agreeable = true;   // the handshake succeeds when nobody interferes
  bool remembers = false;  // the client's policy keeps sessions: no two runs are the same
};

End clientOf(const Setup& setup);
End serverOf(const Setup& setup);

// Runs one input.
enum class Tested : uint8_t { server, client };
void runEnds(Bytes bytes, Tested tested);

}  // namespace warren::fuzz
