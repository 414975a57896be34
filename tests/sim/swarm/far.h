// Far: TLS at a peer's end. BoringSSL itself, with none of warren's code around it, so that an error of
// warren's is not met by the same error here.
#pragma once

#include <memory>
#include <string>
#include <string_view>

struct ssl_st;

namespace warren::swarm {

// Bytes in, bytes out; what it has to say waits in `take`.
class Far {
 public:
  enum class Role : uint8_t { client, server };

  explicit Far(Role role);
  ~Far();
  Far(const Far&) = delete;
  Far& operator=(const Far&) = delete;

  // Ciphertext that has come; returns the plaintext in it. A client begins with nothing.
  std::string feed(std::string_view cipher);
  // Ciphertext that has to go, in whole records.
  std::string take();

  // These need an agreement, and nothing that was said to be the last.
  bool maySpeak() const { return ready_ && !failed_ && !notified_; }
  void send(std::string_view plain);
  void notify();          // close_notify
  void rekey(bool both);  // TLS 1.3: new keys of ours, and of the other's
  void alert();           // a fatal one
  static std::string record(uint8_t type, std::string_view body);  // that nobody has sealed

  bool ready() const { return ready_; }
  bool ended() const { return ended_; }    // the other has said close_notify
  bool failed() const { return failed_; }  // nothing more comes out of it
  bool notified() const { return notified_; }
  const std::string& error() const { return error_; }

 private:
  struct Free {
    void operator()(ssl_st* ssl) const;
  };

  void shakeHands();
  void read(std::string& plain);
  // Whether there is nothing to do but to wait for more.
  bool waits(int returned);

  std::unique_ptr<ssl_st, Free> ssl_;
  std::string error_;
  int rekeys_ = 0;  // since the last plaintext
  bool ready_ = false;
  bool ended_ = false;
  bool failed_ = false;
  bool notified_ = false;
};

}  // namespace warren::swarm
