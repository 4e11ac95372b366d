"""The gateway's process: started, welcomed, watched, replaced."""
